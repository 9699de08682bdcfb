-- Write a symbol's current order book: it replaces the one before. Only the holder of the symbol may.
--
-- KEYS  1 owner, 2 book
-- ARGV  1 token, 2 ts_ms, 3 update_id, 4 packed levels, 5 state, 6 scale
-- RESULT  {'OK'} or {'FENCED'} (another holder)
--
-- book: ts_ms      venue time of the last event in it
--       update_id  the last update in it, -1 where the venue does not count them
--       levels     common.store.book
--       state      'live', or 'broken': the connection is lost or a resync is under way, and this is the last known one
--       scale      of the levels: decimals of prices and of sizes, '2.8'
--       token      its writer's: a book that a former holder left behind is not live
-- The book depends on nothing else in the store and writing it twice is writing it once, so `seq` is not compared.

local owner, book = KEYS[1], KEYS[2]

if redis.call('HGET', owner, 'token') ~= ARGV[1] then
  return {'FENCED'}
end
redis.call('HSET', book, 'token', ARGV[1], 'ts_ms', ARGV[2], 'update_id', ARGV[3], 'levels', ARGV[4], 'state', ARGV[5],
  'scale', ARGV[6])
return {'OK'}
