-- Take over the exceptions of a symbol's calendar, and mark the days as to be rolled up that they change.
--
-- KEYS  1 state, 2 dirty, 3 seals, 4 candles, 5 rollup, 6 archive, 7 outside
-- ARGV  1 the exceptions by which days have been marked so far ('' if none), 2 those from now on; then
--       first day, last day ... of each stretch that may differ (their opens, UTC ms)
-- RESULT  {'OK', number of days marked} or {'STALE'}: another process came first
--
-- rollup: field exceptions, those of a calendar as JSON (common.store.calendars). version, as roll.lua has it, is raised:
--         what a job has made by others is not taken in. Until all days are rolled up that it has marked, readers
--         make these of their minutes (dirty); until it is set they know by it which days are not what they should be.
-- dirty: as commit.lua has it; also days of which the archive alone has the minutes.
-- outside: of the day that is not over an import has counted; by these sessions it is counted once it is.

local state, dirty, seals, candles, rollup, archive, outside = unpack(KEYS)

-- with days.lua
-- with outside.lua

if (redis.call('HGET', rollup, 'exceptions') or '') ~= ARGV[1] then
  return {'STALE'}
end
local seq = redis.call('HGET', state, 'seq')
local from = tonumber(redis.call('HGET', archive, 'candles_from_ms') or '') or math.huge
local floor = tonumber(redis.call('HGET', state, 'candle_floor_ms') or '-1')
local newest = tonumber(redis.call('HGET', state, 'watermark_ms') or '-1')
newest = newest - newest % DAY_MS
local marked = 0
local function mark(day)
  redis.call('ZADD', dirty, seq, day)
  marked = marked + 1
end

for i = 3, #ARGV, 2 do
  local first, last = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  for _, day in ipairs(days_between(state, seals, candles, first, last)) do
    mark(day)
  end
  if first <= newest and newest <= last then
    note_outside(outside, string.format('%.0f', newest), '0')
  end
  for day = math.max(first, from), math.min(last, floor - 1), DAY_MS do
    mark(string.format('%.0f', day))
  end
end
redis.call('HSET', rollup, 'exceptions', ARGV[2])
redis.call('HINCRBY', rollup, 'version', 1)
return {'OK', marked}
