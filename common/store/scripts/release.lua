-- Give the right to write back. Harmless to repeat, and harmless once another holder has it.
--
-- token: of the holder; fields: of health: why it is given back, if not in order
-- RESULT  {'OK'}
--
-- owner.beat_ms: as claim.lua has it. What is told of a symbol without a holder is true for a while only.

if redis.call('HGET', owner, 'token') == token then
  local time = redis.call('TIME')
  redis.call('HSET', owner, 'token', '', 'beat_ms', time[1] .. string.sub(string.format('%06d', time[2]), 1, 3))
  for i = fields.first, fields.last, 2 do
    redis.call('HSET', health, ARGV[i], ARGV[i + 1])
  end
end
return {'OK'}
