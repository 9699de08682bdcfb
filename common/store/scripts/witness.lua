-- The venue says how much of a window has been used: others may spend from the same address.
--
-- budget: the key; window_ms, bucket_ms: of the limit; used: weight used in that window, by the venue's count
-- RESULT  {'OK', weight added}

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local ours = 0
local fields = redis.call('HGETALL', budget)
for i = 1, #fields, 2 do
  local window, start = string.match(fields[i], '^(%d+):(%d+)$')
  if window == window_ms and tonumber(start) + bucket_ms + window_ms > now_ms then
    ours = ours + tonumber(fields[i + 1])
  end
end
local more = tonumber(used) - ours
if more > 0 then
  redis.call('HINCRBY', budget, window_ms .. ':' .. string.format('%d', now_ms - now_ms % bucket_ms), more)
end
return {'OK', math.max(more, 0)}
