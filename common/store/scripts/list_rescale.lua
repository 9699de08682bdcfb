-- Note what there is of the archive that may be of another scale than its symbol, once it has been listed.
--
-- instrument: state.instrument as the caller read it; objects: members
-- RESULT  {'OK'} or {'STALE'}: the symbol has been changed since
--
-- rescale: members '<series>:<period>', score the period's open (ms); and 'list', score 0, until they are known.

if (redis.call('HGET', state, 'instrument') or '') ~= instrument then
  return {'STALE'}
end
for at = objects.first, objects.last do
  redis.call('ZADD', rescale, string.match(ARGV[at], ':(%d+)$'), ARGV[at])
end
redis.call('ZREM', rescale, 'list')
return {'OK'}
