-- Imported days: their minutes as sealed blocks, and the checkpoint that says so. All or nothing.
--
-- KEYS  1 owner, 2 state, 3 trades, 4 candles, 5 footprints, 6 events, 7 gaps, 8 dirty, 9 seals, 10 sealed candles,
--       11 sealed footprints, 12 staged, 13 archive, 14 outside, 15 coverage, 16 archived:trades, 17 faults
-- ARGV  1 token, 2 seq the caller stands at, 3 the next seq
--       4 watermark_ms, 5 a packed batch of no trades, 6 events to keep, 7 and 8 first and last open written
--       9 'archived' if the archive has the trades of the days, and all that were applied before; else ''
--       10 '<from_ms>:<to_ms>;...', where it will never have all of them
--       11 number of days, 12 of state pairs, 13 of gaps, 14 of forgotten gaps, 15 of events, 16 of messages, 17 of
--       objects of trades that were written, 18 of chunks of coverage, '' where it is stored whole; then
--       day (its open, UTC ms), 'seal' or 'leave' (nothing of the day is kept), number of candles, of footprints,
--       digest of the staged candles, of the staged footprints ('' if there are none), trades outside every session
--       ('' if not known) ...
--       state field, value ... chunk number, chunk ... gap id, gap ... gap id ... event ... channel, message ...
--       entry (manifest.lua) ...
-- RESULT  {'OK'}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the caller left it)
--
-- Blocks, seals and staged are those of roll.lua; a day that is written here is dirty, so that its roll-ups are made.
-- state: a floor above a day goes back to it. The caller has seen to it that nothing lies, or lay, between the two.
-- trades: the stream does not get them. What it had is dropped: it would look as if it were whole. So whoever comes back
--         with an older cursor is given a new snapshot. archive: as archived_trades.lua has it.
-- state.amended, state.reshaped_seq: as in commit.lua.

local owner, state, trades, candles, footprints, events, gaps, dirty, seals, sealed_candles, sealed_footprints, staged,
  archive, outside, coverage, manifest, faults = unpack(KEYS)
local next_seq = ARGV[3]
local AMENDED_KEPT, DAY_MS = 16, 86400000
local FIRST_DAY, DAY_FIELDS = 19, 7

-- with lost.lua
-- with outside.lua
-- with manifest.lua
-- with coverage.lua

if redis.call('HGET', owner, 'token') ~= ARGV[1] then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= ARGV[2] then
  return {'STALE'}
end
local days, at = {}, FIRST_DAY
for _ = 1, tonumber(ARGV[11]) do
  local day = {open = ARGV[at], seals = ARGV[at + 1] == 'seal', blocks = {}, outside = ARGV[at + 6]}
  day.seal = table.concat({day.open, unpack(ARGV, at + 2, at + 5)}, ':')
  for i, name in ipairs({'candles', 'footprints'}) do
    local digest = ARGV[at + 3 + i]
    local block = digest ~= '' and redis.call('HGET', staged, day.open .. ':' .. name)
    if digest ~= '' and (not block or string.sub(redis.sha1hex(block), 1, 16) ~= digest) then
      return {'STALE'}
    end
    day.blocks[i] = block
  end
  days[#days + 1] = day
  at = at + DAY_FIELDS
end

redis.call('XADD', trades, next_seq .. '-0', 'token', ARGV[1], 'n', '0', 'watermark_ms', ARGV[4], 'trades', ARGV[5])
redis.call('XTRIM', trades, 'MAXLEN', '=', 1)
local time = redis.call('TIME')
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HINCRBY', owner, 'beats', 1)
redis.call('HSET', owner, 'beat_ms', now_ms)
local log, length = next_seq .. ':' .. ARGV[7] .. ':' .. ARGV[8], 1
for older in string.gmatch(redis.call('HGET', state, 'amended') or '', '[^;]+') do
  if length == AMENDED_KEPT then break end
  log, length = log .. ';' .. older, length + 1
end
redis.call('HSET', state, 'seq', next_seq, 'token', ARGV[1], 'watermark_ms', ARGV[4], 'kept', '0', 'updated_ms', now_ms,
  'reshaped_seq', next_seq, 'amended', log)

local function seal(day)
  local open, end_ms = day.open, tonumber(day.open) + DAY_MS
  local last_ms = string.format('%.0f', end_ms - 1)
  for i, target in ipairs({sealed_candles, sealed_footprints}) do
    if day.blocks[i] then
      redis.call('HSET', target, open, day.blocks[i])
      local floor = ({'candle_floor_ms', 'footprint_floor_ms'})[i]
      if tonumber(redis.call('HGET', state, floor) or '-1') > tonumber(open) then
        redis.call('HSET', state, floor, open)
      end
    else
      redis.call('HDEL', target, open)
    end
  end
  redis.call('HDEL', staged, open .. ':candles', open .. ':footprints')
  redis.call('ZREMRANGEBYSCORE', seals, open, open)
  redis.call('ZADD', seals, open, day.seal)
  redis.call('ZREMRANGEBYSCORE', candles, open, last_ms)
  redis.call('ZREMRANGEBYSCORE', footprints, open, last_ms)
  redis.call('ZADD', dirty, next_seq, open)
  if end_ms > tonumber(redis.call('HGET', state, 'sealed_to_ms') or '-1') then
    redis.call('HSET', state, 'sealed_to_ms', string.format('%.0f', end_ms))
  end
end

for _, day in ipairs(days) do
  if day.seals then
    seal(day)
  end
  note_outside(outside, day.open, day.outside)
end

if ARGV[9] == 'archived' then
  redis.call('HSET', archive, 'trades_seq', next_seq, 'trades_ms', ARGV[4], 'trades_from_ms', '-1',
    'trades_applied', redis.call('HGET', state, 'applied') or '0')
  confirm(archive, 'trades')
end
local lost = {}
for from_ms, to_ms in string.gmatch(ARGV[10], '(%d+):(%d+)') do
  table.insert(lost, {tonumber(from_ms), tonumber(to_ms)})
end
lose(archive, 'trades', lost)

for _ = 1, tonumber(ARGV[12]) do
  redis.call('HSET', state, ARGV[at], ARGV[at + 1])
  at = at + 2
end
if ARGV[18] ~= '' then
  at = write_chunks(state, coverage, at, tonumber(ARGV[18]))
end
for _ = 1, tonumber(ARGV[13]) do
  redis.call('HSET', gaps, ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[14]) do
  redis.call('HDEL', gaps, ARGV[at])
  at = at + 1
end
for i = 1, tonumber(ARGV[15]) do
  redis.call('XADD', events, 'MAXLEN', '~', ARGV[6], next_seq .. '-' .. i, 'event', ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[16]) do
  redis.call('PUBLISH', ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, tonumber(ARGV[17]) do
  note_entry(manifest, faults, 'trades', ARGV[at])
  at = at + 1
end
return {'OK'}
