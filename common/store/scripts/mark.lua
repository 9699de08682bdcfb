-- Mark finished days as to be rolled up once more: those of a range that have minutes, sealed or open.
--
-- KEYS  1 state, 2 dirty, 3 seals, 4 candles
-- ARGV  1 first day, 2 last day (their opens, UTC ms)
-- RESULT  {day ...} ascending. Days before the candles' floor are left alone: their minutes are gone, so what was made
--         of them can't be made again; and days that are not over.
--
-- dirty: as commit.lua has it. A job that has read a day before it is marked has read the same minutes.

local state, dirty, seals, candles = unpack(KEYS)
local DAY_MS = 86400000

local values = redis.call('HMGET', state, 'seq', 'watermark_ms', 'candle_floor_ms')
local seq = values[1]
if not seq then
  return {}
end
local first = math.max(tonumber(ARGV[1]), tonumber(values[3] or '-1'))
local last = math.min(tonumber(ARGV[2]), tonumber(values[2]) - DAY_MS)
local found, days = {}, {}
local function add(day)
  if day >= first and day <= last and not found[day] then
    found[day] = true
    days[#days + 1] = day
  end
end

local last_text = string.format('%.0f', last)
for _, seal in ipairs(redis.call('ZRANGEBYSCORE', seals, string.format('%.0f', first), last_text)) do
  add(tonumber(string.match(seal, '^%d+')))
end
local from, end_text = first, string.format('(%.0f', last + DAY_MS)
while true do
  local minute = redis.call('ZRANGEBYSCORE', candles, string.format('%.0f', from), end_text, 'WITHSCORES', 'LIMIT', 0, 1)
  if not minute[2] then
    break
  end
  local day = tonumber(minute[2]) - tonumber(minute[2]) % DAY_MS
  add(day)
  from = day + DAY_MS
end

table.sort(days)
for i, day in ipairs(days) do
  days[i] = string.format('%.0f', day)
  redis.call('ZADD', dirty, seq, days[i])
end
return days
