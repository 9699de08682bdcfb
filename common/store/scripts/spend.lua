-- Take weight from a venue's budget, which all processes of the fleet share.
--
-- budget: the key; weight; limits: limit, window_ms, bucket_ms of each
-- RESULT  {'OK', 0}  or  {'WAIT', ms}: nothing was taken, try again then
--
-- budget: <window_ms>:<bucket start, ms> -> weight spent in that bucket; cooldown_until_ms: no request before.
-- A window slides over its buckets, the oldest counted whole: no window of the venue's own, wherever it begins, can
-- hold more than the limit.

weight = tonumber(weight)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local cooldown_ms = tonumber(redis.call('HGET', budget, 'cooldown_until_ms') or '0') - now_ms
if cooldown_ms > 0 then
  return {'WAIT', cooldown_ms}
end

local fields = redis.call('HGETALL', budget)
local wait_ms, spends = 0, {}
for i = limits.first, limits.last, 3 do
  local limit, window_ms, bucket_ms = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local used, buckets = 0, {}
  for j = 1, #fields, 2 do
    local window, start = string.match(fields[j], '^(%d+):(%d+)$')
    if window == ARGV[i + 1] then
      local free_at_ms = tonumber(start) + bucket_ms + window_ms
      if free_at_ms <= now_ms then
        redis.call('HDEL', budget, fields[j])
      else
        used = used + tonumber(fields[j + 1])
        table.insert(buckets, {free_at_ms, tonumber(fields[j + 1])})
      end
    end
  end
  table.sort(buckets, function(a, b) return a[1] < b[1] end)
  for _, bucket in ipairs(buckets) do
    if used + weight <= limit then
      break
    end
    used = used - bucket[2]
    wait_ms = math.max(wait_ms, bucket[1] - now_ms)
  end
  table.insert(spends, ARGV[i + 1] .. ':' .. string.format('%d', now_ms - now_ms % bucket_ms))
end
if wait_ms > 0 then
  return {'WAIT', wait_ms}
end
for _, field in ipairs(spends) do
  redis.call('HINCRBY', budget, field, weight)
end
return {'OK', 0}
