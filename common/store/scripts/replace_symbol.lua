-- Put another entry in the place of a symbol's in the registry, if that is still the one that was read.
--
-- KEYS  1 symbols
-- ARGV  1 symbol, 2 the entry that was read, 3 the new one
-- RESULT  {'OK'} or {'STALE'}

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return {'STALE'}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {'OK'}
