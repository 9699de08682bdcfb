-- Take in what a job made of one day's minutes: roll-ups, and the day itself as sealed blocks. All or nothing.
--
-- KEYS  1 state, 2 dirty, 3 rollup, 4 candles, 5 footprints, 6 seals, 7 sealed candles, 8 sealed footprints, 9 staged,
--       10 unarchived, 11 events, 12 candles:1d, 13 candles:1w, 14 candles:1M, 15 outside, 16 changing
-- ARGV  1 token of the state, 2 version of the rollup, 3 day (its open, UTC ms), 4 its score in dirty: as they were read
--       5 events to keep, 6 number of roll-ups, 7 trades of the day outside every session ('' if not known); then
--       key (12, 13 or 14), open_ms, candle ('' if there is none), event and message ('' if nothing changed) ...
--       and 'leave', or 'kept' (the blocks are as they were, to be archived anew), or 'seal', number of candles, of
--       footprints, digest of the staged candles, of the staged footprints ('' if there are none)
-- RESULT  {'OK', version} or {'STALE'}: the day has been written since, another job came first, or the symbol is about
--         to be changed (stage_change.lua)
--
-- rollup: field version, raised with every roll-up. A week is made of days, so two jobs must not pass each other.
-- candles:1d, 1w, 1M: score open_ms, one packed candle a period.
-- seals: score day, member '<day>:<candles>:<footprints>:<digest of the block>:<digest of the block>'. A digest is the
--         first 16 digits of the SHA-1.
-- sealed candles, footprints: field day, its block (common.market.coding.blocks). Minutes of the day that are in candles or
--         footprints were written after it was sealed, and count instead of the sealed ones.
-- staged: fields '<day>:candles' and '<day>:footprints', the blocks as the job has read them back.
-- unarchived: members 'candles:<day>' and 'footprints:<day>', score the version that made them or, negative, the commit
--         that left late trades for them (commit.lua).
-- state.sealed_to_ms: the end of the newest sealed day. outside: as outside.lua has it.

local state, dirty, rollup, candles, footprints, seals, sealed_candles, sealed_footprints, staged, unarchived, events =
  unpack(KEYS)
local DAY_MS = 86400000
local day, at = ARGV[3], 8

-- with outside.lua

local until_ms = redis.call('HGET', KEYS[16], 'until_ms')
local time = redis.call('TIME')
if until_ms and time[1] * 1000 + math.floor(time[2] / 1000) < tonumber(until_ms) then
  return {'STALE'}
end
if (redis.call('HGET', state, 'token') or '') ~= ARGV[1]
  or (redis.call('HGET', rollup, 'version') or '0') ~= ARGV[2]
  or (redis.call('ZSCORE', dirty, day) or '') ~= ARGV[4] then
  return {'STALE'}
end

local seal = at + 5 * tonumber(ARGV[6])
local blocks = {}
if ARGV[seal] == 'seal' then
  for i, name in ipairs({'candles', 'footprints'}) do
    local digest = ARGV[seal + 2 + i]
    local block = digest ~= '' and redis.call('HGET', staged, day .. ':' .. name)
    if digest ~= '' and (not block or string.sub(redis.sha1hex(block), 1, 16) ~= digest) then
      return {'STALE'}
    end
    blocks[i] = block
  end
end

local version = redis.call('HINCRBY', rollup, 'version', 1)
local seq = redis.call('HGET', state, 'seq')
local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
local newest_seq, n = string.match(newest and newest[1] or '0-0', '^(%d+)-(%d+)$')
n = newest_seq == seq and tonumber(n) or 0
for _ = 1, tonumber(ARGV[6]) do
  local series, open_ms, candle, event = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  redis.call('ZREMRANGEBYSCORE', series, open_ms, open_ms)
  if candle ~= '' then
    redis.call('ZADD', series, open_ms, candle)
  end
  if event ~= '' then
    n = n + 1
    redis.call('XADD', events, 'MAXLEN', '~', ARGV[5], seq .. '-' .. n, 'event', event)
    redis.call('PUBLISH', series, ARGV[at + 4])
    redis.call('PUBLISH', events, event)
  end
  at = at + 5
end

redis.call('ZREM', dirty, day)
note_outside(KEYS[15], day, ARGV[7])
if ARGV[seal] == 'seal' then
  local last_ms = string.format('%.0f', tonumber(day) + DAY_MS - 1)
  for i, target in ipairs({sealed_candles, sealed_footprints}) do
    if blocks[i] then
      redis.call('HSET', target, day, blocks[i])
      redis.call('ZADD', unarchived, version, (i == 1 and 'candles:' or 'footprints:') .. day)
    end
  end
  redis.call('HDEL', staged, day .. ':candles', day .. ':footprints')
  redis.call('ZREMRANGEBYSCORE', seals, day, day)
  redis.call('ZADD', seals, day, table.concat({day, unpack(ARGV, seal + 1, seal + 4)}, ':'))
  redis.call('ZREMRANGEBYSCORE', candles, day, last_ms)
  redis.call('ZREMRANGEBYSCORE', footprints, day, last_ms)
  local end_ms = tonumber(day) + DAY_MS
  if end_ms > tonumber(redis.call('HGET', state, 'sealed_to_ms') or '-1') then
    redis.call('HSET', state, 'sealed_to_ms', string.format('%.0f', end_ms))
  end
elseif ARGV[seal] == 'kept' then
  for i, target in ipairs({sealed_candles, sealed_footprints}) do
    if redis.call('HEXISTS', target, day) == 1 then
      redis.call('ZADD', unarchived, version, (i == 1 and 'candles:' or 'footprints:') .. day)
    end
  end
end
return {'OK', version}
