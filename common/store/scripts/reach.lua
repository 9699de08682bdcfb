-- How far back what is kept of a symbol reaches. Reads only.
--
-- footprints: those that are not sealed
-- RESULT  {candles, footprints, candle floor, footprint floor, oldest sealed day, oldest chunk of depth: ms; the oldest
--         entry's first trade, packed; candles_from_ms, footprints_from_ms, trades_from_ms of the archive}, '' for what
--         there is none of

local function oldest(key)
  return redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or ''
end

local found = {oldest(candles), oldest(footprints)}
for _, floor in ipairs(redis.call('HMGET', state, 'candle_floor_ms', 'footprint_floor_ms')) do
  table.insert(found, floor or '')
end
table.insert(found, oldest(seals))
table.insert(found, oldest(depth))
-- An entry may have thousands of trades; their times come first, behind their number. One may have none.
local first = ''
for _, entry in ipairs(redis.call('XRANGE', trades, '-', '+', 'COUNT', 8)) do
  first = first ~= '' and first or string.sub(entry[2][8], 9, 16)
end
table.insert(found, first)
for _, from in ipairs(redis.call('HMGET', archive, 'candles_from_ms', 'footprints_from_ms', 'trades_from_ms')) do
  table.insert(found, from or '')
end
return found
