-- Look at the owners of many symbols: one reply, where each by itself would cost its reader more than the store.
--
-- owners: the keys
-- RESULT  token, beats ... of each: nil and nil where there is none; nil and an error where it can't be read
--
-- The keys lie in many hash slots: a store that is split by them can't run this.

local found = {}
for at = owners.first, owners.last do
  local values = redis.pcall('HMGET', KEYS[at], 'token', 'beats')
  if values.err then
    values = {false, values.err}
  end
  found[#found + 1] = values[1]
  found[#found + 1] = values[2]
end
return found
