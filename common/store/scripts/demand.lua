-- Say that somebody looks at a symbol, or looks no more; and that it is the one in focus.
--
-- who: of those that tell (a feed); for_ms: for how long it counts unless it is said again, 0: not at all any more
-- attention: 'focus': it has come into focus now; 'kept': it still is; '': it is looked at beside others
-- RESULT  {'OK'}
--
-- demand: a sorted set of who says so, by the time (ms of the server's clock) until which it counts; gone with the last.
-- focus: since when the symbol is in focus, in ms of that clock.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- A feed of an earlier release says it with a text.
if redis.call('TYPE', demand).ok == 'string' then
  redis.call('DEL', demand)
end
redis.call('ZREMRANGEBYSCORE', demand, '-inf', now_ms)
if tonumber(for_ms) > 0 then
  redis.call('ZADD', demand, now_ms + for_ms, who)
else
  redis.call('ZREM', demand, who)
end
local last = redis.call('ZREVRANGE', demand, 0, 0, 'WITHSCORES')
if last[2] then
  redis.call('PEXPIREAT', demand, last[2])
end

if attention == 'focus' then
  redis.call('SET', focus, string.format('%.0f', now_ms), 'PX', for_ms)
elseif attention == 'kept' and redis.call('PEXPIRE', focus, for_ms) == 0 then
  redis.call('SET', focus, string.format('%.0f', now_ms), 'PX', for_ms)
end
return {'OK'}
