-- Take or keep one of a bounded number of places.
--
-- places: the key; who; most: how many places there are; for_ms: for how long one is taken
-- RESULT  {'OK'}  or  {'FULL'}
--
-- places: a sorted set of who has one, by the time (ms of the server's clock) until which it is kept.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZREMRANGEBYSCORE', places, '-inf', now_ms)
if not redis.call('ZSCORE', places, who) and redis.call('ZCARD', places) >= tonumber(most) then
  return {'FULL'}
end
redis.call('ZADD', places, now_ms + tonumber(for_ms), who)
return {'OK'}
