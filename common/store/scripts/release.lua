-- Give the right to write back. Harmless to repeat, and harmless once somebody else has it.
--
-- KEYS  1 owner, 2 health
-- ARGV  1 token, then field, value, ... of health: why it is given back, if not in order
-- RESULT  {'OK'}
--
-- owner.beat_ms: as claim.lua has it. What is told of a symbol that nobody holds is true for a while only.

local owner, health = KEYS[1], KEYS[2]

if redis.call('HGET', owner, 'token') == ARGV[1] then
  local time = redis.call('TIME')
  redis.call('HSET', owner, 'token', '', 'beat_ms', time[1] .. string.sub(string.format('%06d', time[2]), 1, 3))
  for i = 2, #ARGV, 2 do
    redis.call('HSET', health, ARGV[i], ARGV[i + 1])
  end
end
return {'OK'}
