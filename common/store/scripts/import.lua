-- Imported days: their minutes as sealed blocks, and the checkpoint that says so. All or nothing.
--
-- KEYS  1 owner, 2 state, 3 trades, 4 events, 5 gaps, 6 dirty, 7 seals, 8 staged, 9 archive, 10 outside, 11 coverage,
--       12 archived:trades, 13 faults; then the series (series.lua)
-- ARGV  1 token, 2 seq the caller stands at, 3 the next seq
--       4 watermark_ms, 5 a packed batch of no trades, 6 events to keep, 7 and 8 first and last open written
--       9 'archived' if the archive has the trades of the days, and all that were applied before; else ''
--       10 '<from_ms>:<to_ms>;...', where it will never have all of them
--       11 number of days, 12 of state pairs, 13 of gaps, 14 of forgotten gaps, 15 of events, 16 of messages, 17 of
--       objects of trades that were written, 18 of chunks of coverage, '' where it is stored whole; then
--       the series (series.lua), then
--       day (its open, UTC ms), 'seal' or 'leave' (nothing of the day is kept), the number of minutes of each series,
--       the digest of its staged block ('' if there is none), trades outside every session ('' if not known) ...
--       state field, value ... chunk number, chunk ... gap id, gap ... gap id ... event ... channel, message ...
--       entry (manifest.lua) ...
-- RESULT  {'OK'}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the caller left it)
--
-- Blocks, seals and staged are those of roll.lua; a day that is written here is dirty, so that its roll-ups are made.
-- state: a floor above a day goes back to it. The caller has seen to it that nothing lies, or lay, between the two.
-- trades: the stream does not get them. What it had is dropped: it would look as if it were whole. So whoever comes back
--         with an older cursor is given a new snapshot. archive: as archived_trades.lua has it.
-- state.amended, state.reshaped_seq: as in commit.lua.

local owner, state, trades, events, gaps, dirty, seals, staged, archive, outside, coverage, manifest, faults =
  unpack(KEYS)
local next_seq = ARGV[3]
local AMENDED_KEPT, DAY_MS = 16, 86400000

-- with lost.lua
-- with outside.lua
-- with manifest.lua
-- with coverage.lua
-- with series.lua

if redis.call('HGET', owner, 'token') ~= ARGV[1] then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= ARGV[2] then
  return {'STALE'}
end
local all, at = listed_series(19)
local days, seal_fields = {}, 2 * #all
for _ = 1, tonumber(ARGV[11]) do
  local day = {open = ARGV[at], seals = ARGV[at + 1] == 'seal', blocks = {}, outside = ARGV[at + seal_fields + 2]}
  day.seal = table.concat({day.open, unpack(ARGV, at + 2, at + seal_fields + 1)}, ':')
  for i, series in ipairs(all) do
    local digest = ARGV[at + 1 + #all + i]
    local block = digest ~= '' and redis.call('HGET', staged, day.open .. ':' .. series.name)
    if digest ~= '' and (not block or string.sub(redis.sha1hex(block), 1, 16) ~= digest) then
      return {'STALE'}
    end
    day.blocks[i] = block
  end
  days[#days + 1] = day
  at = at + seal_fields + 3
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
  for i, series in ipairs(all) do
    if day.blocks[i] then
      redis.call('HSET', series.sealed, open, day.blocks[i])
      if tonumber(redis.call('HGET', state, series.floor) or '-1') > tonumber(open) then
        redis.call('HSET', state, series.floor, open)
      end
    else
      redis.call('HDEL', series.sealed, open)
    end
    redis.call('HDEL', staged, open .. ':' .. series.name)
    redis.call('ZREMRANGEBYSCORE', series.open, open, last_ms)
  end
  redis.call('ZREMRANGEBYSCORE', seals, open, open)
  redis.call('ZADD', seals, open, day.seal)
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
