-- One atomic step of a symbol: trades, candles, footprints, checkpoint, events, publication. All or nothing: the
-- checks come first, then the one write that may be refused (XADD trades), then the rest.
--
-- token, seq: where the caller stands; next_seq: the one after
-- trade_count, packed_trades, watermark_ms: of the step; trades_kept, events_kept: at most
-- archived_series: 'candles,footprints,trades': what the archive has not got of them is not dropped
-- coverage_shape: where coverage is stored by chunks 'reshaped' or 'grown', else ''
-- floors: of each series, before which open (ms) is dropped; '' drops none
-- new_text_ids: text id ...; state_fields: field, value ...; chunks: number, chunk ...; health_fields: field, value ...
-- gap_puts: id, gap ...; forgotten: gap id ...; minutes: open_ms, a member of each series ...
-- event_texts; message_head: of the message on the channel of commits, where the packed trades follow it
-- messages: channel, message ...: what else is published
-- RESULT  {'OK', subscribers, server time in ms}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the
--         caller left it)
--
-- trades: id <seq>-0, fields token, n, watermark_ms, trades; one entry a commit, also when n is 0, so that a reader
--         sees every step. state.kept counts the trades in it, state.applied those of all commits. What an archive of
--         trades has not got yet (archived_trades.lua) stays, up to MAX_WAITING times what is kept; what has to go all
--         the same is noted (lost.lua), also where none is archived any more.
-- open minutes of a series: score open_ms; a correction replaces the member of that score; '' only drops it. A minute
--         that has been dropped is not written again: what the archive has, and what was made of it, is more than its
--         rest. Of the candles' minutes alone the others are written: candles lead.
-- late parts of a series: score open_ms, member '<token>:<seq>:<packed>': what late trades make of minutes that
--         the archive alone has, until it has that, too (archived.lua). Their days are dirty and unarchived. There are
--         at most MAX_LATE; archive.late_lost counts those that had no room.
-- dirty: score the seq that last wrote a minute of the day (UTC, its open), until the day has been rolled up (roll.lua).
-- text ids: the last MAX_TEXT_IDS ids of trades that are no numbers. Scores count up; the last one has the greatest.
-- state, for readers that keep what they have read (feed/bars/tail.py) or come back with a cursor (feed/bars/changes.py):
--   amended         '<seq>:<from_ms>:<to_ms>;...', newest first: the last 16 commits that wrote minutes which had been
--                   closed before, and which those were at most (opens, both included)
--   reshaped_seq    the last commit after which coverage differs by more than its newest span having grown: a gap
--                   was opened, moved or filled, or coverage begins earlier
--   candle_floor_ms, footprint_floor_ms, ...   minutes that open before have been dropped
-- tiles of levels: those of a minute that is amended go (drop_tiles.lua), those of a day with what is sealed of their source.
-- months, rolled_15m: a month goes with the last of its days; of one that is dropped in part no reader takes the rest.
-- Numbers stay text: Lua 5.1 writes large ones with 14 digits.

local count = tonumber(trade_count)
local AMENDED_KEPT, DAY_MS, MAX_LATE, MAX_WAITING, MAX_TEXT_IDS = 16, 86400000, 20000, 10, 10000

-- Coverage as it is stored whole (JSON) without what grows with every trade: the end of its newest span. Id spans are
-- [first, last, from_ms, to_ms], the one span of time is [window, floor_ms, from_ms, to_ms].
local function shape(coverage)
  local before, from_ms = string.match(coverage, '^(.*%[%-?%d+),%-?%d+,(%-?%d+),%-?%d+%]%]$')
  return before and (before .. ' ' .. from_ms)
end

-- Up to where the archive has all of a series as it is now.
local function archived(name)
  local to = tonumber(redis.call('HGET', archive, name .. '_ms') or '-1')
  for _, day in ipairs(redis.call('ZRANGE', dirty, 0, -1)) do
    to = math.min(to, tonumber(day))
  end
  for _, member in ipairs(redis.call('ZRANGE', unarchived, 0, -1)) do
    local series, day = string.match(member, '^(%a+):(%d+)$')
    to = series == name and math.min(to, tonumber(day)) or to
  end
  return to
end

-- The oldest day that there is of a series.
local function oldest_day(series)
  local open = redis.call('ZRANGE', series.open, 0, 0, 'WITHSCORES')[2]
  local oldest = open and tonumber(open) - tonumber(open) % DAY_MS or math.huge
  for _, day in ipairs(redis.call('HKEYS', series.sealed)) do
    oldest = math.min(oldest, tonumber(day))
  end
  return oldest
end

local function is_archived(name)
  return string.find(archived_series, name, 1, true)
end

-- Keep what late trades make of a minute that has been dropped, if the archive has it. True if it is kept.
local function keep_late(series, open_ms, packed)
  local from = redis.call('HGET', archive, series.name .. '_from_ms')
  local open = tonumber(open_ms)
  if not is_archived(series.name) or not from or open < tonumber(from) then
    return false
  end
  if redis.call('ZCARD', series.late) >= MAX_LATE then
    redis.call('HINCRBY', archive, 'late_lost', 1)
    return false
  end
  redis.call('ZADD', series.late, open_ms, token .. ':' .. next_seq .. ':' .. packed)
  redis.call('ZADD', unarchived, '-' .. next_seq, series.name .. ':' .. string.format('%.0f', open - open % DAY_MS))
  return true
end

-- Drop what opens before the floor, as far as the archive has it, and raise the floor, which only ever rises: a
-- backlog may close minutes older than the newest one. A sealed day is dropped when all of it is older.
local function drop(series, floor_ms)
  if floor_ms == '' then
    return
  end
  local floor, was = tonumber(floor_ms), tonumber(redis.call('HGET', state, series.floor) or '-1')
  if floor > was and is_archived(series.name) then
    floor = math.min(floor, archived(series.name))
    for i = 2, series == all[1] and #all or 1 do
      -- Else a late trade would find the footprint of a minute whose candle it does not.
      floor = math.min(floor, oldest_day(all[i]))
    end
  end
  floor_ms = string.format('%.0f', math.max(floor, was))
  redis.call('ZREMRANGEBYSCORE', series.open, '-inf', '(' .. floor_ms)
  if floor <= was then
    return
  end
  local from_ms, to_ms = string.format('%.0f', was - DAY_MS), string.format('%.0f', floor - DAY_MS)
  for _, seal in ipairs(redis.call('ZRANGEBYSCORE', seals, from_ms, to_ms)) do
    local day = string.match(seal, '^%d+')
    redis.call('HDEL', series.sealed, day)
    for _, level in ipairs(levels) do
      if level.source == series.name then redis.call('HDEL', level.key, day) end
    end
  end
  redis.call('HSET', state, series.floor, floor_ms)
end

-- with lost.lua
-- with coverage.lua
-- with tell.lua
-- with note_health.lua
-- with forget_months.lua
-- with drop_tiles.lua

-- The floor of each series, -1 without one.
local function floors_now()
  local fields = {}
  for i, series in ipairs(all) do
    fields[i] = series.floor
  end
  local found = redis.call('HMGET', state, unpack(fields))
  for i = 1, #all do
    found[i] = tonumber(found[i] or '-1')
  end
  return found
end

-- The least and the greatest time of packed trades: 8 bytes, then 33 a trade, the times first.
local function span(packed)
  local from_ms, to_ms = math.huge, -1
  for i = 1, (#packed - 8) / 33 do
    local ts_ms = struct.unpack('<i8', packed, 8 * i + 1)
    from_ms, to_ms = math.min(from_ms, ts_ms), math.max(to_ms, ts_ms)
  end
  return {from_ms, to_ms}
end

if redis.call('HGET', owner, 'token') ~= token then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= seq then
  return {'STALE'}
end

local entry = next_seq .. '-0'
redis.call('XADD', trades, entry, 'token', token, 'n', trade_count, 'watermark_ms', watermark_ms,
  'trades', packed_trades)

-- The stream is bounded by trades, not by entries: an entry holds 1 trade or 10,000. The step count is bounded too,
-- so that a smaller bound is reached little by little.
local was = redis.call('HMGET', state, 'watermark_ms', 'coverage', 'amended', 'kept', 'applied')
local most = tonumber(trades_kept)
local kept, applied = tonumber(was[4] or '0') + count, tonumber(was[5] or '0') + count
local archives, archived_seq, dropped = is_archived('trades'), nil, {}
for _ = 1, 64 do
  local length = redis.call('XLEN', trades)
  if length == 1 or (kept <= most and length <= most) then
    break
  end
  local oldest = redis.call('XRANGE', trades, '-', '+', 'COUNT', 1)[1]
  local held = tonumber(oldest[2][4])
  if length <= most and kept - held < most then
    break
  end
  archived_seq = archived_seq or tonumber(redis.call('HGET', archive, 'trades_seq') or '-1')
  if tonumber(string.match(oldest[1], '^%d+')) > archived_seq then
    if archives and length <= most * MAX_WAITING and kept - held < most * MAX_WAITING then
      break
    end
    if held > 0 and (archives or archived_seq >= 0) then
      table.insert(dropped, span(oldest[2][8]))
    end
  end
  redis.call('XTRIM', trades, 'MAXLEN', '=', length - 1)
  kept = kept - held
end
lose(archive, 'trades', dropped)

local time = redis.call('TIME')
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HINCRBY', owner, 'beats', 1)
redis.call('HSET', owner, 'beat_ms', now_ms)
-- At once: each call by itself costs a microsecond, and a command in the log that is synced.
redis.call('HSET', state, 'seq', next_seq, 'token', token, 'watermark_ms', watermark_ms, 'kept', kept,
  'applied', string.format('%.0f', applied), unpack(ARGV, state_fields.first, state_fields.last))
if count > 0 then
  redis.call('HSET', state, 'updated_ms', now_ms)
end

if new_text_ids.first <= new_text_ids.last then
  local last = tonumber(redis.call('ZRANGE', text_ids, -1, -1, 'WITHSCORES')[2] or '0')
  for at = new_text_ids.first, new_text_ids.last do
    last = last + 1
    redis.call('ZADD', text_ids, string.format('%.0f', last), ARGV[at])
  end
  redis.call('ZREMRANGEBYRANK', text_ids, 0, -MAX_TEXT_IDS - 1)
end
if coverage_shape == '' then
  if was[2] and shape(was[2]) ~= shape(redis.call('HGET', state, 'coverage')) then
    redis.call('HSET', state, 'reshaped_seq', next_seq)
  end
else
  write_chunks(state, coverage, chunks)
  if coverage_shape == 'reshaped' then
    redis.call('HSET', state, 'reshaped_seq', next_seq)
  end
end
for at = gap_puts.first, gap_puts.last, 2 do
  redis.call('HSET', gaps, ARGV[at], ARGV[at + 1])
end
for at = forgotten.first, forgotten.last do
  redis.call('HDEL', gaps, ARGV[at])
end
local closed_before_ms = tonumber(was[1] or '-1')
local from_ms, to_ms
local days = {}
local were = minutes.first <= minutes.last and floors_now()
for at = minutes.first, minutes.last, 1 + #all do
  local open_ms, open = ARGV[at], tonumber(ARGV[at])
  local is_here = open >= were[1]
  local kept = is_here
  if open + 60000 <= closed_before_ms then
    drop_tiles(levels, open, open + 60000, false)
  end
  if is_here then
    for _, series in ipairs(all) do
      redis.call('ZREMRANGEBYSCORE', series.open, open_ms, open_ms)
    end
    redis.call('ZADD', all[1].open, open_ms, ARGV[at + 1])
  else
    kept = keep_late(all[1], open_ms, ARGV[at + 1])
  end
  if kept then
    if open + 60000 <= closed_before_ms then
      if not from_ms or open < tonumber(from_ms) then from_ms = open_ms end
      if not to_ms or open > tonumber(to_ms) then to_ms = open_ms end
    end
    days[open - open % DAY_MS] = true
  end
  for i = 2, kept and #all or 1 do
    local packed = ARGV[at + i]
    if packed ~= '' and open < were[i] then
      -- The candle may be there, but what the worker has made of the footprint is of the late trades alone.
      keep_late(all[i], open_ms, packed)
    elseif packed ~= '' and is_here then
      redis.call('ZADD', all[i].open, open_ms, packed)
    end
  end
end
for day_ms in pairs(days) do
  redis.call('ZADD', dirty, next_seq, string.format('%.0f', day_ms))
end
if from_ms then
  local log, length = next_seq .. ':' .. from_ms .. ':' .. to_ms, 1
  for older in string.gmatch(was[3] or '', '[^;]+') do
    if length == AMENDED_KEPT then break end
    log, length = log .. ';' .. older, length + 1
  end
  redis.call('HSET', state, 'amended', log)
end
local drops = false
for i = #all, 1, -1 do
  local floor_ms = ARGV[floors.first + i - 1]
  drop(all[i], floor_ms)
  drops = drops or floor_ms ~= ''
end
if drops then
  -- A seal names the blocks of all series, and goes with the last of them.
  local floors_ms = floors_now()
  redis.call('ZREMRANGEBYSCORE', seals, '-inf', string.format('%.0f', math.min(unpack(floors_ms)) - DAY_MS))
  forget_months(months, rolled_15m, '-inf', string.format('%.0f', floors_ms[1]), 0, floors_ms[1])
end
redis.call('PUBLISH', commits, message_head .. packed_trades)
tell(now_ms)
note_health(health_fields, next_seq, now_ms)
-- The channel of the trades has the name of their stream.
return {'OK', redis.call('PUBSUB', 'NUMSUB', trades)[2], now_ms}
