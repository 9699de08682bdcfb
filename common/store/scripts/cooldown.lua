-- The venue said stop (429, 418): no request of the fleet before its time is over. Never shortens a cooldown.
--
-- KEYS  1 budget
-- ARGV  1 cooldown (ms), 2 what happened (JSON, for people), 3 what was asked for
-- RESULT  {'OK', ms left}

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ms = math.max(now_ms + tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[1], 'cooldown_until_ms') or '0'))
redis.call('HSET', KEYS[1], 'cooldown_until_ms', string.format('%d', until_ms), 'throttle', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'throttles:' .. ARGV[3], 1)
return {'OK', until_ms - now_ms}
