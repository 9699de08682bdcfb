-- The venue says how much of a window has been used: somebody else may spend from the same address.
--
-- KEYS  1 budget
-- ARGV  1 window_ms, 2 bucket_ms, 3 weight used in that window, by the venue's count
-- RESULT  {'OK', weight added}

local budget = KEYS[1]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local window_ms, bucket_ms = tonumber(ARGV[1]), tonumber(ARGV[2])

local ours = 0
local fields = redis.call('HGETALL', budget)
for i = 1, #fields, 2 do
  local window, start = string.match(fields[i], '^(%d+):(%d+)$')
  if window == ARGV[1] and tonumber(start) + bucket_ms + window_ms > now_ms then
    ours = ours + tonumber(fields[i + 1])
  end
end
local more = tonumber(ARGV[3]) - ours
if more > 0 then
  redis.call('HINCRBY', budget, ARGV[1] .. ':' .. string.format('%d', now_ms - now_ms % bucket_ms), more)
end
return {'OK', math.max(more, 0)}
