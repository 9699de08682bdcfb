-- Put the jobs of the queue in the order of their rounds: all of the first, then all of the second, and so on.
--
-- queued: the list of job ids, of which RQ takes the first
-- rounds: job id, round ...; some may not be queued any more
-- RESULT  {'OK'}. Those of one round stay as they stand; those that are not named go first.

local round_of = {}
for i = rounds.first, rounds.last, 2 do
  round_of[ARGV[i]] = tonumber(ARGV[i + 1])
end
local jobs = redis.call('LRANGE', queued, 0, -1)
local order = {}
for at, job in ipairs(jobs) do
  order[at] = {round_of[job] or -1, at, job}
end
table.sort(order, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
for at, place in ipairs(order) do
  if jobs[at] ~= place[3] then
    redis.call('LSET', queued, at - 1, place[3])
  end
end
return {'OK'}
