-- One imported day: its minutes as sealed blocks, and the checkpoint that says so. All or nothing.
--
-- KEYS  1 owner, 2 state, 3 trades, 4 candles, 5 footprints, 6 events, 7 gaps, 8 dirty, 9 seals, 10 sealed candles,
--       11 sealed footprints, 12 staged, 13 archive
-- ARGV  1 token, 2 seq the caller stands at, 3 the next seq
--       4 day (its open, UTC ms), 5 watermark_ms, 6 a packed batch of no trades, 7 events to keep
--       8 'seal' or 'leave' (nothing of the day is kept), 9 number of candles, 10 of footprints, 11 digest of the staged
--       candles, 12 of the staged footprints ('' if there are none), 13 and 14 first and last open written
--       15 number of state pairs, 16 of gaps, 17 of forgotten gaps, 18 of events, 19 of messages
--       20 'archived' if the archive has the trades of the day, and all that were applied before; else ''
--       21 '<from_ms>:<to_ms>;...', where it will never have all of them; then
--       state field, value ... gap id, gap ... gap id ... event ... channel, message ...
-- RESULT  {'OK'}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the caller left it)
--
-- Blocks, seals and staged are those of roll.lua; a day that is written here is dirty, so that its roll-ups are made.
-- state: a floor above the day goes back to it. The caller has seen to it that nothing lies, or lay, between the two.
-- trades: the stream does not get them. What it had is dropped: it would look as if it were whole. So whoever comes back
--         with an older cursor is given a new snapshot. archive: as archived_trades.lua has it.
-- state.amended, state.reshaped_seq: as in commit.lua.

local owner, state, trades, candles, footprints, events, gaps, dirty, seals, sealed_candles, sealed_footprints, staged,
  archive = unpack(KEYS)
local next_seq, day = ARGV[3], ARGV[4]
local AMENDED_KEPT, DAY_MS = 16, 86400000

-- with lost.lua

if redis.call('HGET', owner, 'token') ~= ARGV[1] then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= ARGV[2] then
  return {'STALE'}
end
local blocks = {}
for i, name in ipairs({'candles', 'footprints'}) do
  local digest = ARGV[10 + i]
  local block = digest ~= '' and redis.call('HGET', staged, day .. ':' .. name)
  if digest ~= '' and (not block or string.sub(redis.sha1hex(block), 1, 16) ~= digest) then
    return {'STALE'}
  end
  blocks[i] = block
end

redis.call('XADD', trades, next_seq .. '-0', 'token', ARGV[1], 'n', '0', 'watermark_ms', ARGV[5], 'trades', ARGV[6])
redis.call('XTRIM', trades, 'MAXLEN', '=', 1)
local time = redis.call('TIME')
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HINCRBY', owner, 'beats', 1)
redis.call('HSET', owner, 'beat_ms', now_ms)
local log, length = next_seq .. ':' .. ARGV[13] .. ':' .. ARGV[14], 1
for older in string.gmatch(redis.call('HGET', state, 'amended') or '', '[^;]+') do
  if length == AMENDED_KEPT then break end
  log, length = log .. ';' .. older, length + 1
end
redis.call('HSET', state, 'seq', next_seq, 'token', ARGV[1], 'watermark_ms', ARGV[5], 'kept', '0', 'updated_ms', now_ms,
  'reshaped_seq', next_seq, 'amended', log)

if ARGV[8] == 'seal' then
  local last_ms = string.format('%.0f', tonumber(day) + DAY_MS - 1)
  for i, target in ipairs({sealed_candles, sealed_footprints}) do
    if blocks[i] then
      redis.call('HSET', target, day, blocks[i])
      local floor = ({'candle_floor_ms', 'footprint_floor_ms'})[i]
      if tonumber(redis.call('HGET', state, floor) or '-1') > tonumber(day) then
        redis.call('HSET', state, floor, day)
      end
    else
      redis.call('HDEL', target, day)
    end
  end
  redis.call('HDEL', staged, day .. ':candles', day .. ':footprints')
  redis.call('ZREMRANGEBYSCORE', seals, day, day)
  redis.call('ZADD', seals, day, table.concat({day, unpack(ARGV, 9, 12)}, ':'))
  redis.call('ZREMRANGEBYSCORE', candles, day, last_ms)
  redis.call('ZREMRANGEBYSCORE', footprints, day, last_ms)
  redis.call('ZADD', dirty, next_seq, day)
  local end_ms = tonumber(day) + DAY_MS
  if end_ms > tonumber(redis.call('HGET', state, 'sealed_to_ms') or '-1') then
    redis.call('HSET', state, 'sealed_to_ms', string.format('%.0f', end_ms))
  end
end

if ARGV[20] == 'archived' then
  redis.call('HSET', archive, 'trades_seq', next_seq, 'trades_ms', ARGV[5], 'trades_from_ms', '-1',
    'trades_applied', redis.call('HGET', state, 'applied') or '0')
  redis.call('HINCRBY', archive, 'trades_version', 1)
end
local lost = {}
for from_ms, to_ms in string.gmatch(ARGV[21], '(%d+):(%d+)') do
  table.insert(lost, {tonumber(from_ms), tonumber(to_ms)})
end
lose(archive, lost)

local at = 22
for _ = 1, tonumber(ARGV[15]) do
  redis.call('HSET', state, ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[16]) do
  redis.call('HSET', gaps, ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[17]) do
  redis.call('HDEL', gaps, ARGV[at])
  at = at + 1
end
for i = 1, tonumber(ARGV[18]) do
  redis.call('XADD', events, 'MAXLEN', '~', ARGV[7], next_seq .. '-' .. i, 'event', ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[19]) do
  redis.call('PUBLISH', ARGV[at], ARGV[at + 1])
  at = at + 2
end
return {'OK'}
