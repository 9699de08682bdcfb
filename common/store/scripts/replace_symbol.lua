-- Put another entry in the place of a symbol's in the registry, if that is still the one that was read.
--
-- symbols: the registry; symbol; entry: that was read; replacement: the new one
-- RESULT  {'OK'} or {'STALE'}

if redis.call('HGET', symbols, symbol) ~= entry then
  return {'STALE'}
end
redis.call('HSET', symbols, symbol, replacement)
return {'OK'}
