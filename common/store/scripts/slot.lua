-- Take or keep one of a bounded number of places.
--
-- KEYS  1 places
-- ARGV  1 who, 2 how many places there are, 3 for how long one is taken (ms)
-- RESULT  {'OK'}  or  {'FULL'}
--
-- places: a sorted set of who has one, by the time (ms of the server's clock) until which it is kept.

local places, who = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZREMRANGEBYSCORE', places, '-inf', now_ms)
if not redis.call('ZSCORE', places, who) and redis.call('ZCARD', places) >= tonumber(ARGV[2]) then
  return {'FULL'}
end
redis.call('ZADD', places, now_ms + tonumber(ARGV[3]), who)
return {'OK'}
