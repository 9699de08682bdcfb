-- What is left of the archive that may be of another scale than its symbol: it has been listed, or one of it is done.
--
-- KEYS  1 state, 2 rescale; of one that is done also 3 archived:<series>, 4 faults
-- ARGV  1 state.instrument as the caller read it, 2 'listed', then members; or 'done', one member, and the entry of the
--       object that was written (manifest.lua; '' if none was)
-- RESULT  {'OK', members left} or {'STALE'}: the symbol has been changed since
--
-- rescale: members '<series>:<period>', score the period's open (ms); and 'list', score 0, until they are known.

local state, rescale, manifest, faults = unpack(KEYS)

-- with manifest.lua

if (redis.call('HGET', state, 'instrument') or '') ~= ARGV[1] then
  return {'STALE'}
end
if ARGV[2] == 'listed' then
  for at = 3, #ARGV do
    redis.call('ZADD', rescale, string.match(ARGV[at], ':(%d+)$'), ARGV[at])
  end
  redis.call('ZREM', rescale, 'list')
else
  redis.call('ZREM', rescale, ARGV[3])
  if ARGV[4] ~= '' then
    note_entry(manifest, faults, string.match(ARGV[3], '^(.*):'), ARGV[4])
  end
end
return {'OK', redis.call('ZCARD', rescale)}
