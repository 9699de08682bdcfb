-- Say that a process is there, or that it is gone; forget those that have not said so for too long.
--
-- KEYS  1 processes
-- ARGV  1 member, 2 the same process's member of before, '' at first, 3 ms until it is forgotten, 0: it is gone,
--       4 most members
-- RESULT  {'OK'}
--
-- processes: a sorted set, `<host>:<pid> <kind> <held> <most> <release>/<format>` by the server's time (ms) until which
-- it counts as there. Of more than `most` those go first that are forgotten first.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if ARGV[2] ~= ARGV[1] then
  redis.call('ZREM', KEYS[1], ARGV[2])
end
if ARGV[3] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now_ms + ARGV[3], ARGV[1])
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[4] - 1)
end
return {'OK'}
