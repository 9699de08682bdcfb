-- Note that an object of the archive is not what was confirmed.
--
-- field: '<series>:<period>'; fault: JSON; most: how many are noted at most
-- RESULT  {'OK'} or {'NONE'}: nothing of the symbol was ever archived (it has been removed), or too many are noted

if redis.call('EXISTS', archive) == 0 then
  return {'NONE'}
end
if redis.call('HLEN', faults) >= tonumber(most) and redis.call('HEXISTS', faults, field) == 0 then
  return {'NONE'}
end
redis.call('HSET', faults, field, fault)
return {'OK'}
