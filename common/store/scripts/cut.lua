-- Cut a symbol's history: of what opens before a day nothing is left, in whichever series.
--
-- KEYS  1 owner, 2 state, 3 candles, 4 footprints, 5 seals, 6 sealed candles, 7 sealed footprints, 8 dirty, 9 rollup,
--       10 unarchived, 11 archive, 12 late candles, 13 late footprints, 14 outside, 15 candles:1d, 16 candles:1w,
--       17 candles:1M, 18 faults, 19 archived:candles, 20 archived:footprints, 21 archived:trades
-- ARGV  1 token, 2 seq the caller stands at, 3 the day (its open, UTC ms), 4 the minute that grows, or would next,
--       5 the time of the newest trade, 6, 7, 8 entries of archived:<series> whose period opens before are forgotten
-- RESULT  {'OK'}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the caller left it)
--
-- state.candle_floor_ms, footprint_floor_ms: minutes that open before the day are none, as with those dropped already.
-- Where a clock that was ahead has dropped what was not traded yet, it is taken back to the minute that grows.
-- Harmless to repeat. All keys as commit.lua and roll.lua have them. Weeks and months that the day lies in are made
-- again of what is left: the first day that has minutes is dirty. rollup.version: jobs under way have read what is gone.

local owner, state, candles, footprints, seals, sealed_candles, sealed_footprints, dirty, rollup, unarchived, archive,
  late_candles, late_footprints, outside = unpack(KEYS)
local day, grows, newest = ARGV[3], ARGV[4], tonumber(ARGV[5])
local DAY_MS = 86400000

-- with outside.lua
-- with manifest.lua

local function floor_of(field)
  local was = tonumber(redis.call('HGET', state, field) or '-1')
  if was > newest then
    return grows
  end
  return string.format('%.0f', math.max(was, tonumber(day)))
end

if redis.call('HGET', owner, 'token') ~= ARGV[1] then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= ARGV[2] then
  return {'STALE'}
end

local before = '(' .. day
local floors = {candle_floor_ms = candles, footprint_floor_ms = footprints}
for field, minutes in pairs(floors) do
  local floor = floor_of(field)
  redis.call('ZREMRANGEBYSCORE', minutes, '-inf', '(' .. floor)
  redis.call('HSET', state, field, floor)
end
for _, seal in ipairs(redis.call('ZRANGEBYSCORE', seals, '-inf', before)) do
  local sealed = string.match(seal, '^%d+')
  redis.call('HDEL', sealed_candles, sealed)
  redis.call('HDEL', sealed_footprints, sealed)
end
for _, key in ipairs({seals, late_candles, late_footprints, KEYS[15], KEYS[16], KEYS[17]}) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', before)
end
for _, member in ipairs(redis.call('ZRANGE', dirty, 0, -1)) do
  if tonumber(member) < tonumber(day) then redis.call('ZREM', dirty, member) end
end
for _, member in ipairs(redis.call('ZRANGE', unarchived, 0, -1)) do
  if tonumber(string.match(member, '(%d+)$')) < tonumber(day) then redis.call('ZREM', unarchived, member) end
end
for _, field in ipairs(redis.call('HKEYS', outside)) do
  if (tonumber(field) or math.huge) < tonumber(day) then note_outside(outside, field, '0') end
end
for i, name in ipairs({'candles', 'footprints', 'trades'}) do
  local from, bound = tonumber(redis.call('HGET', archive, name .. '_from_ms') or ''), ARGV[5 + i]
  if from then
    if name ~= 'trades' and from < tonumber(day) then
      redis.call('HSET', archive, name .. '_from_ms', day)
    end
    redis.call('ZREMRANGEBYSCORE', KEYS[18 + i], '-inf', '(' .. bound)
    confirm(archive, name)
  end
  for _, field in ipairs(redis.call('HKEYS', KEYS[18])) do
    local series, period = string.match(field, '^(%a+):(-?%d+)$')
    if series == name and tonumber(period) < tonumber(bound) then redis.call('HDEL', KEYS[18], field) end
  end
end

local first = math.huge
local minute = redis.call('ZRANGE', candles, 0, 0, 'WITHSCORES')[2]
if minute then first = tonumber(minute) - tonumber(minute) % DAY_MS end
local seal = redis.call('ZRANGE', seals, 0, 0, 'WITHSCORES')[2]
if seal then first = math.min(first, tonumber(seal)) end
if first < math.huge then
  redis.call('ZADD', dirty, ARGV[2], string.format('%.0f', first))
end
redis.call('HINCRBY', rollup, 'version', 1)
return {'OK'}
