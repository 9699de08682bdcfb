-- Write chunks of a book's history: each replaces the one of its minute. Only the holder of the symbol may.
--
-- KEYS  1 owner, 2 depth
-- ARGV  1 token, 2 chunks to keep, then open_ms, packed chunk, open_ms, packed chunk, ...
-- RESULT  {'OK', chunks kept} or {'FENCED'} (another holder)
--
-- depth: score open_ms, one chunk (common.market.depth.chunk) a minute; the oldest are dropped. A chunk depends on nothing
-- else in the store and writing it twice is writing it once, so `seq` is not compared.

local owner, depth = KEYS[1], KEYS[2]

if redis.call('HGET', owner, 'token') ~= ARGV[1] then
  return {'FENCED'}
end
for i = 3, #ARGV, 2 do
  redis.call('ZREMRANGEBYSCORE', depth, ARGV[i], ARGV[i])
  redis.call('ZADD', depth, ARGV[i], ARGV[i + 1])
end
redis.call('ZREMRANGEBYRANK', depth, 0, -1 - tonumber(ARGV[2]))
return {'OK', redis.call('ZCARD', depth)}
