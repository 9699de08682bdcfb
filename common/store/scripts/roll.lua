-- Take in what a job made of one day's minutes: roll-ups, and the day itself as sealed blocks. All or nothing.
--
-- token, version, score: of the state, of the rollup, and of the day in dirty, as they were read; day: its open, UTC ms
-- events_kept: at most; outside_count: trades of the day outside every session ('' if not known)
-- how: 'leave', or 'kept' (the blocks are as they were, to be archived again), or 'seal', with
-- seal: the number of minutes of each series, then the digest of its staged block of each ('' if there is none)
-- packed: tiles of the day, as day_tiles.lua has them; tiles_form: the form in which they are
-- month: of the day, as month.lua has it; months_form: the form in which months are made ('' if they are not)
-- rolled: '1d', '1w' or '1M', open_ms, candle ('' if there is none), event and message ('' if nothing changed) ...
-- RESULT  {'OK', version} or {'STALE'}: the day has been written since, another job came first, or the symbol is about
--         to be changed (stage_change.lua)
--
-- rollup: field version, raised with every roll-up. A week is made of days, so two jobs must not pass each other.
-- candles:1d, 1w, 1M: score open_ms, one packed candle a period.
-- seals: score day, member '<day>:<candles>:<footprints>:<digest of the block>:<digest of the block>': the number of
--         each series, then the digest of each. A digest is the first 16 digits of the SHA-1.
-- sealed days of a series: field day, its block (common.market.coding.blocks). Minutes of the day that are open were
--         written after it was sealed, and count instead of the sealed ones.
-- staged: fields '<day>:<series>', the blocks as the job has read them back.
-- rollup.months: as rolled_month.lua has it; rollup.tiles: as day_tiles.lua. Where no day was sealed before, none lacks
--         anything.
-- unarchived: members '<series>:<day>', score the version that made them or, negative, the commit that left late trades
--         for them (commit.lua).
-- state.sealed_to_ms: the end of the newest sealed day. outside: as outside.lua has it.

local DAY_MS = 86400000
local ROLLED = {['1d'] = daily, ['1w'] = weekly, ['1M'] = monthly}

-- with outside.lua
-- with tell_event.lua
-- with month.lua
-- with put_day_tiles.lua

local until_ms = redis.call('HGET', changing, 'until_ms')
local time = redis.call('TIME')
if until_ms and time[1] * 1000 + math.floor(time[2] / 1000) < tonumber(until_ms) then
  return {'STALE'}
end
if (redis.call('HGET', state, 'token') or '') ~= token
  or (redis.call('HGET', rollup, 'version') or '0') ~= version
  or (redis.call('ZSCORE', dirty, day) or '') ~= score then
  return {'STALE'}
end

local blocks = {}
if how == 'seal' then
  for i, series in ipairs(all) do
    local digest = ARGV[seal.first + #all + i - 1]
    local block = digest ~= '' and redis.call('HGET', staged, day .. ':' .. series.name)
    if digest ~= '' and (not block or string.sub(redis.sha1hex(block), 1, 16) ~= digest) then
      return {'STALE'}
    end
    blocks[i] = block
  end
end

local taken, is_there = listed_month(month, staged)
if not is_there then
  return {'STALE'}
end

local raised = redis.call('HINCRBY', rollup, 'version', 1)
local seq = redis.call('HGET', state, 'seq')
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
for at = rolled.first, rolled.last, 5 do
  local key, open_ms, candle, event = ROLLED[ARGV[at]], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  redis.call('ZREMRANGEBYSCORE', key, open_ms, open_ms)
  if candle ~= '' then
    redis.call('ZADD', key, open_ms, candle)
  end
  if event ~= '' then
    redis.call('PUBLISH', key, ARGV[at + 4])
    tell_next(seq, event, now_ms)
  end
end

redis.call('ZREM', dirty, day)
note_outside(outside, day, outside_count)
if months_form ~= '' and redis.call('ZCARD', seals) == 0 then
  redis.call('HSET', rollup, 'months', months_form)
end
if taken then
  put_month(taken, staged, months, rolled_15m)
end
if packed.first <= packed.last and redis.call('ZCARD', seals) == 0 then
  redis.call('HSET', rollup, 'tiles', tiles_form)
end
put_day_tiles(levels, day, packed)
if how == 'seal' then
  local last_ms = string.format('%.0f', tonumber(day) + DAY_MS - 1)
  for i, series in ipairs(all) do
    if blocks[i] then
      redis.call('HSET', series.sealed, day, blocks[i])
      redis.call('ZADD', unarchived, raised, series.name .. ':' .. day)
    end
    redis.call('HDEL', staged, day .. ':' .. series.name)
    redis.call('ZREMRANGEBYSCORE', series.open, day, last_ms)
  end
  redis.call('ZREMRANGEBYSCORE', seals, day, day)
  redis.call('ZADD', seals, day, table.concat({day, unpack(ARGV, seal.first, seal.last)}, ':'))
  local end_ms = tonumber(day) + DAY_MS
  if end_ms > tonumber(redis.call('HGET', state, 'sealed_to_ms') or '-1') then
    redis.call('HSET', state, 'sealed_to_ms', string.format('%.0f', end_ms))
  end
elseif how == 'kept' then
  for _, series in ipairs(all) do
    if redis.call('HEXISTS', series.sealed, day) == 1 then
      redis.call('ZADD', unarchived, raised, series.name .. ':' .. day)
    end
  end
end
return {'OK', raised}
