-- What is left of the archive that may be of another scale than its symbol: it has been listed, or some of it is done.
--
-- KEYS  1 state, 2 rescale
-- ARGV  1 state.instrument as the caller read it, 2 'listed' or 'done', then members
-- RESULT  {'OK', members left} or {'STALE'}: the symbol has been changed since
--
-- rescale: members '<series>:<period>', score the period's open (ms); and 'list', score 0, until they are known.

local state, rescale = KEYS[1], KEYS[2]

if (redis.call('HGET', state, 'instrument') or '') ~= ARGV[1] then
  return {'STALE'}
end
for at = 3, #ARGV do
  if ARGV[2] == 'listed' then
    redis.call('ZADD', rescale, string.match(ARGV[at], ':(%d+)$'), ARGV[at])
  else
    redis.call('ZREM', rescale, ARGV[at])
  end
end
if ARGV[2] == 'listed' then
  redis.call('ZREM', rescale, 'list')
end
return {'OK', redis.call('ZCARD', rescale)}
