-- Part of mark.lua and adopt.lua: finished days of a range that have minutes, sealed or open.

local DAY_MS = 86400000

-- Those from `first` to `last`, both included, ascending, as text. None before the first commit.
local function days_between(state, seals, candles, first, last)
  local values = redis.call('HMGET', state, 'watermark_ms', 'candle_floor_ms')
  if not values[1] then
    return {}
  end
  first = math.max(first, tonumber(values[2] or '-1'))
  last = math.min(last, tonumber(values[1]) - DAY_MS)
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
    local minute =
      redis.call('ZRANGEBYSCORE', candles, string.format('%.0f', from), end_text, 'WITHSCORES', 'LIMIT', 0, 1)
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
  end
  return days
end
