-- A sign of life without a commit.
--
-- token, seq: where the holder stands; fields: of health; events_kept: at most
-- RESULT  {'OK', server time in ms}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the holder left
--         it)

-- with tell_event.lua
-- with note_health.lua

if redis.call('HGET', owner, 'token') ~= token then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= seq then
  return {'STALE'}
end

local time = redis.call('TIME')
redis.call('HINCRBY', owner, 'beats', 1)
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HSET', owner, 'beat_ms', now_ms)
note_health(fields, seq, now_ms)
return {'OK', now_ms}
