-- Take over the exceptions of a symbol's calendar, and mark the days as to be rolled up that they change.
--
-- known: the exceptions by which days have been marked so far ('' if none); exceptions: those from now on
-- spans: first day, last day (their opens, UTC ms) of each stretch that may differ
-- RESULT  {'OK', number of days marked} or {'STALE'}: another process came first
--
-- rollup: field exceptions, those of a calendar as JSON (common.store.calendars). version, as roll.lua has it, is raised:
--         what a job has made by others is not taken in. Until all days are rolled up that it has marked, readers
--         make these of their minutes (dirty); until it is set they know by it which days are not what they should be.
-- dirty: as commit.lua has it; also days of which the archive alone has the minutes.
-- outside: of the day that is not over an import has counted; by these sessions it is counted once it is.

-- with days.lua
-- with outside.lua

if (redis.call('HGET', rollup, 'exceptions') or '') ~= known then
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

for i = spans.first, spans.last, 2 do
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
redis.call('HSET', rollup, 'exceptions', exceptions)
redis.call('HINCRBY', rollup, 'version', 1)
return {'OK', marked}
