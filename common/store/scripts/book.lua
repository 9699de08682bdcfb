-- Write a symbol's current order book: it replaces the one before. Only the holder of the symbol may. Who listens is told.
--
-- token: of the writer
-- RESULT  {'OK', listeners} or {'FENCED'} (another holder)
--
-- book: ts_ms      venue time of the last event in it
--       update_id  the last update in it, -1 where the venue does not count them
--       levels     common.store.book
--       state      'live', or 'broken': the connection is lost or a resync is under way, and this is the last known one
--       scale      of the levels: decimals of prices and of sizes, '2.8'
--       token      its writer's: a book that a former holder left behind is not live
--       seq        how many books were written
-- depth: the channel has the name of the history. A message has the fields, as common.store.book reads them
-- The book depends on nothing else in the store and writing it twice is writing it once, so no `seq` is compared.

if redis.call('HGET', owner, 'token') ~= token then
  return {'FENCED'}
end
redis.call('HSET', book, 'token', token, 'ts_ms', ts_ms, 'update_id', update_id, 'levels', levels, 'state', state,
  'scale', scale)
local seq = redis.call('HINCRBY', book, 'seq', 1)
local listeners = redis.call('PUBSUB', 'NUMSUB', depth)[2]
if listeners > 0 then
  redis.call('PUBLISH', depth, table.concat({token, seq, ts_ms, update_id, state, scale}, ' ') .. '\n' .. levels)
end
return {'OK', listeners}
