-- Mark finished days as to be rolled up once more: those of a range that have minutes, sealed or open.
--
-- first_day, last_day: their opens, UTC ms
-- RESULT  {day ...} ascending. Days before the candles' floor are left alone: their minutes are gone, so what was made
--         of them can't be made again; and days that are not over.
--
-- months, rolled_15m: those of the days go, so that they are made of them (month.lua).
-- dirty: as commit.lua has it. A job that has read a day before it is marked has read the same minutes.

-- with days.lua
-- with forget_months.lua

local days = days_between(state, seals, candles, tonumber(first_day), tonumber(last_day))
for _, day in ipairs(days) do
  redis.call('ZADD', dirty, redis.call('HGET', state, 'seq'), day)
  forget_months(months, rolled_15m, string.format('%.0f', tonumber(day) - 31 * DAY_MS), day, tonumber(day) + DAY_MS, math.huge)
end
return days
