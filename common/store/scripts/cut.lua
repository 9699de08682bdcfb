-- Cut a symbol's history: of what opens before a day nothing is left, in whichever series.
--
-- manifest: archived:trades
-- token, seq: where the caller stands; day: its open, UTC ms; grows: the minute that grows, or would next
-- newest_ms: the time of the newest trade
-- bounds: of each series, and at last of trades: entries of archived:<series> whose period opens before are forgotten
-- RESULT  {'OK'}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the caller left it)
--
-- The floor of each series in state: minutes that open before the day are none, as with those dropped already.
-- Where a clock that was ahead has dropped what was not traded yet, it is taken back to the minute that grows.
-- Months that open before it have no 15m roll-up until the first day that is left has been rolled up.
-- Harmless to repeat. All keys as commit.lua and roll.lua have them. Weeks and months that the day lies in are made
-- again of what is left: the first day that has minutes is dirty. rollup.version: jobs under way have read what is gone.

local newest = tonumber(newest_ms)
local DAY_MS = 86400000

-- with outside.lua
-- with manifest.lua
-- with forget_months.lua

local function floor_of(field)
  local was = tonumber(redis.call('HGET', state, field) or '-1')
  if was > newest then
    return grows
  end
  return string.format('%.0f', math.max(was, tonumber(day)))
end

if redis.call('HGET', owner, 'token') ~= token then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= seq then
  return {'STALE'}
end

local before = '(' .. day
for _, series in ipairs(all) do
  local floor = floor_of(series.floor)
  redis.call('ZREMRANGEBYSCORE', series.open, '-inf', '(' .. floor)
  redis.call('ZREMRANGEBYSCORE', series.late, '-inf', before)
  redis.call('HSET', state, series.floor, floor)
end
for _, seal in ipairs(redis.call('ZRANGEBYSCORE', seals, '-inf', before)) do
  local sealed = string.match(seal, '^%d+')
  for _, series in ipairs(all) do redis.call('HDEL', series.sealed, sealed) end
end
forget_months(months, rolled_15m, '-inf', before, 0, math.huge)
for _, level in ipairs(levels) do
  for _, open in ipairs(redis.call('HKEYS', level.key)) do
    if tonumber(open) < tonumber(day) then redis.call('HDEL', level.key, open) end
  end
end
for _, key in ipairs({seals, daily, weekly, monthly}) do
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

-- What the archive has of a series that opens before the bound is known no more.
local function forget(name, archived, bound)
  local from = tonumber(redis.call('HGET', archive, name .. '_from_ms') or '')
  if from then
    if name ~= 'trades' and from < tonumber(day) then
      redis.call('HSET', archive, name .. '_from_ms', day)
    end
    redis.call('ZREMRANGEBYSCORE', archived, '-inf', '(' .. bound)
    confirm(archive, name)
  end
  for _, field in ipairs(redis.call('HKEYS', faults)) do
    local series, period = string.match(field, '^(%a+):(-?%d+)$')
    if series == name and tonumber(period) < tonumber(bound) then redis.call('HDEL', faults, field) end
  end
end

for i, series in ipairs(all) do
  forget(series.name, series.archived, ARGV[bounds.first + i - 1])
end
forget('trades', manifest, ARGV[bounds.last])

local first = math.huge
local minute = redis.call('ZRANGE', all[1].open, 0, 0, 'WITHSCORES')[2]
if minute then first = tonumber(minute) - tonumber(minute) % DAY_MS end
local seal = redis.call('ZRANGE', seals, 0, 0, 'WITHSCORES')[2]
if seal then first = math.min(first, tonumber(seal)) end
if first < math.huge then
  redis.call('ZADD', dirty, seq, string.format('%.0f', first))
end
redis.call('HINCRBY', rollup, 'version', 1)
return {'OK'}
