-- Note that an object of the archive is not what was confirmed.
--
-- KEYS  1 faults, 2 archive
-- ARGV  1 '<series>:<period>', 2 the fault (JSON), 3 how many are noted at most
-- RESULT  {'OK'} or {'NONE'}: nothing of the symbol was ever archived (it has been removed), or too many are noted

if redis.call('EXISTS', KEYS[2]) == 0 then
  return {'NONE'}
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return {'NONE'}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return {'OK'}
