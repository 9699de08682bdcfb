-- Give the right to write back. Harmless to repeat, and harmless once somebody else has it.
--
-- KEYS  1 owner
-- ARGV  1 token
-- RESULT  {'OK'}

if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then
  redis.call('HSET', KEYS[1], 'token', '')
end
return {'OK'}
