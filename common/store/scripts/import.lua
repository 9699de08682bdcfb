-- Imported days: their minutes as sealed blocks, and the checkpoint that says so. All or nothing.
--
-- manifest: archived:trades
-- token, seq: where the caller stands; next_seq: the one after; watermark_ms
-- no_trades: a packed batch of none; events_kept: at most; first_ms, last_ms: first and last open written
-- archived: whether the archive has the trades of the days, and all that were applied before
-- lost_spans: '<from_ms>:<to_ms>;...', where it will never have all of them
-- with_chunks: whether coverage is stored by chunks
-- days: day (its open, UTC ms), 'seal' or 'leave' (nothing of the day is kept), the number of minutes of each series,
--       the digest of its staged block ('' if there is none), trades outside every session ('' if not known) ...
-- state_fields: field, value ...; chunks: number, chunk ...; gap_puts: id, gap ...; forgotten: gap id ...
-- event_texts; messages: channel, message ...; entries: of the objects of trades that were written (manifest.lua)
-- RESULT  {'OK'}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the caller left it)
--
-- Blocks, seals and staged are those of roll.lua; a day that is written here is dirty, so that its roll-ups are made.
-- state: a floor above a day goes back to it. The caller has seen to it that nothing lies, or lay, between the two.
-- trades: the stream does not get them. What it had is dropped: it would look as if it were whole. So a reader that comes back
--         with an older cursor is given a new snapshot. archive: as archived_trades.lua has it.
-- tiles of levels: those of a day that is written go (drop_tiles.lua); rollup.tiles: they are to be made again (day_tiles.lua).
-- state.amended, state.reshaped_seq: as in commit.lua.

local AMENDED_KEPT, DAY_MS = 16, 86400000

-- with lost.lua
-- with outside.lua
-- with manifest.lua
-- with coverage.lua
-- with tell.lua
-- with drop_tiles.lua

if redis.call('HGET', owner, 'token') ~= token then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= seq then
  return {'STALE'}
end
local imported, seal_fields = {}, 2 * #all
for at = days.first, days.last, seal_fields + 3 do
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
  imported[#imported + 1] = day
end

redis.call('XADD', trades, next_seq .. '-0', 'token', token, 'n', '0', 'watermark_ms', watermark_ms,
  'trades', no_trades)
redis.call('XTRIM', trades, 'MAXLEN', '=', 1)
local time = redis.call('TIME')
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HINCRBY', owner, 'beats', 1)
redis.call('HSET', owner, 'beat_ms', now_ms)
local log, length = next_seq .. ':' .. first_ms .. ':' .. last_ms, 1
for older in string.gmatch(redis.call('HGET', state, 'amended') or '', '[^;]+') do
  if length == AMENDED_KEPT then break end
  log, length = log .. ';' .. older, length + 1
end
redis.call('HSET', state, 'seq', next_seq, 'token', token, 'watermark_ms', watermark_ms, 'kept', '0',
  'updated_ms', now_ms, 'reshaped_seq', next_seq, 'amended', log)

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

for _, day in ipairs(imported) do
  if day.seals then
    seal(day)
    drop_tiles(levels, tonumber(day.open), tonumber(day.open) + DAY_MS, true)
    redis.call('HDEL', rollup, 'tiles')
  end
  note_outside(outside, day.open, day.outside)
end

if archived then
  redis.call('HSET', archive, 'trades_seq', next_seq, 'trades_ms', watermark_ms, 'trades_from_ms', '-1',
    'trades_applied', redis.call('HGET', state, 'applied') or '0')
  confirm(archive, 'trades')
end
local lost = {}
for from_ms, to_ms in string.gmatch(lost_spans, '(%d+):(%d+)') do
  table.insert(lost, {tonumber(from_ms), tonumber(to_ms)})
end
lose(archive, 'trades', lost)

for at = state_fields.first, state_fields.last, 2 do
  redis.call('HSET', state, ARGV[at], ARGV[at + 1])
end
if with_chunks then
  write_chunks(state, coverage, chunks)
end
for at = gap_puts.first, gap_puts.last, 2 do
  redis.call('HSET', gaps, ARGV[at], ARGV[at + 1])
end
for at = forgotten.first, forgotten.last do
  redis.call('HDEL', gaps, ARGV[at])
end
tell(now_ms)
for at = entries.first, entries.last do
  note_entry(manifest, faults, 'trades', ARGV[at])
end
return {'OK'}
