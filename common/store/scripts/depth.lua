-- Write chunks of a book's history: each replaces the one of its minute. Only the holder of the symbol may.
--
-- token: of the writer; kept: chunks at most; chunks: open_ms, packed chunk ...
-- RESULT  {'OK', chunks kept} or {'FENCED'} (another holder)
--
-- depth: score open_ms, one chunk (common.market.depth.chunk) a minute; the oldest are dropped. A chunk depends on nothing
-- else in the store and writing it twice is writing it once, so `seq` is not compared.

if redis.call('HGET', owner, 'token') ~= token then
  return {'FENCED'}
end
for i = chunks.first, chunks.last, 2 do
  redis.call('ZREMRANGEBYSCORE', depth, ARGV[i], ARGV[i])
  redis.call('ZADD', depth, ARGV[i], ARGV[i + 1])
end
redis.call('ZREMRANGEBYRANK', depth, 0, -1 - tonumber(kept))
return {'OK', redis.call('ZCARD', depth)}
