-- Say that a process is there, or that it is gone; forget those that have not said so for too long.
--
-- processes: the key
-- member; before: the same process's member until now, '' at first; for_ms: until it is forgotten, 0: it is gone
-- most: members at most
-- RESULT  {'OK'}
--
-- processes: a sorted set, `<host>:<pid> <kind> <held> <most> <release>/<format>` by the server's time (ms) until which
-- it counts as there. Of more than `most` those go first that are forgotten first.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZREMRANGEBYSCORE', processes, '-inf', now_ms)
if before ~= member then
  redis.call('ZREM', processes, before)
end
if for_ms == '0' then
  redis.call('ZREM', processes, member)
else
  redis.call('ZADD', processes, now_ms + for_ms, member)
  redis.call('ZREMRANGEBYRANK', processes, 0, -most - 1)
end
return {'OK'}
