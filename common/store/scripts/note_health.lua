-- Part of commit.lua, beat.lua and release.lua: what a holder says of the symbol's health.
--
-- health: the fields as they were last told; since_ms: the server's time since when mode and reason are what they are.
-- `fields`: a list of arguments, field and value.
local function note_health(health, fields, now_ms)
  if fields.first > fields.last then
    return
  end
  local was = redis.call('HMGET', health, 'mode', 'reason')
  redis.call('HSET', health, unpack(ARGV, fields.first, fields.last))
  local is = redis.call('HMGET', health, 'mode', 'reason')
  if was[1] ~= is[1] or (was[2] or '') ~= (is[2] or '') then
    redis.call('HSET', health, 'since_ms', now_ms)
  end
end
