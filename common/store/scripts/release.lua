-- Give the right to write back. Harmless to repeat, and harmless once another holder has it.
--
-- token: of the holder; fields: of health: why it is given back, if not in order; events_kept: at most
-- RESULT  {'OK'}
--
-- owner.beat_ms: as claim.lua has it. What is told of a symbol without a holder is true for a while only.

-- with tell_event.lua
-- with note_health.lua

if redis.call('HGET', owner, 'token') == token then
  local time = redis.call('TIME')
  local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
  redis.call('HSET', owner, 'token', '', 'beat_ms', now_ms)
  note_health(fields, redis.call('HGET', state, 'seq') or '0', now_ms)
end
return {'OK'}
