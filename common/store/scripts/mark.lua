-- Mark finished days as to be rolled up once more: those of a range that have minutes, sealed or open.
--
-- KEYS  1 state, 2 dirty, 3 seals, 4 candles
-- ARGV  1 first day, 2 last day (their opens, UTC ms)
-- RESULT  {day ...} ascending. Days before the candles' floor are left alone: their minutes are gone, so what was made
--         of them can't be made again; and days that are not over.
--
-- dirty: as commit.lua has it. A job that has read a day before it is marked has read the same minutes.

local state, dirty, seals, candles = unpack(KEYS)

-- with days.lua

local days = days_between(state, seals, candles, tonumber(ARGV[1]), tonumber(ARGV[2]))
for _, day in ipairs(days) do
  redis.call('ZADD', dirty, redis.call('HGET', state, 'seq'), day)
end
return days
