-- The venue said stop (429, 418): no request of the fleet before its time is over. Never shortens a cooldown.
--
-- span_ms: of the cooldown; throttle: what happened (JSON, for people); endpoint: what was asked for
-- RESULT  {'OK', ms left}

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ms = math.max(now_ms + tonumber(span_ms), tonumber(redis.call('HGET', budget, 'cooldown_until_ms') or '0'))
redis.call('HSET', budget, 'cooldown_until_ms', string.format('%d', until_ms), 'throttle', throttle)
redis.call('HINCRBY', budget, 'throttles:' .. endpoint, 1)
return {'OK', until_ms - now_ms}
