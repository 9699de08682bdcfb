-- Put the jobs of the queue in the order of their rounds: all of the first, then all of the second, and so on.
--
-- KEYS  1 list of job ids, of which RQ takes the first
-- ARGV  job id, round ...; some may not be queued any more
-- RESULT  {'OK'}. Those of one round stay as they stand; those that are not named go first.

local rounds = {}
for i = 1, #ARGV, 2 do
  rounds[ARGV[i]] = tonumber(ARGV[i + 1])
end
local queued = redis.call('LRANGE', KEYS[1], 0, -1)
local order = {}
for at, job in ipairs(queued) do
  order[at] = {rounds[job] or -1, at, job}
end
table.sort(order, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
for at, place in ipairs(order) do
  if queued[at] ~= place[3] then
    redis.call('LSET', KEYS[1], at - 1, place[3])
  end
end
return {'OK'}
