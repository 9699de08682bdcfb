-- A symbol's data becomes that of another instrument. All or nothing.
--
-- rewritten: series that are rewritten, each with its shadow behind it: trades, candles:1d, 1w, 1M, the minutes of each
--       series, its late parts
-- token: of the change and of its claim; seq: where the caller stands, and next_seq the one after
-- version: of the rollup that the shadows were made at
-- no_trades: a packed batch of none; events_kept: at most
-- with_shadows: whether the series are replaced by their shadows
-- rolled_from_ms: roll-ups that open from there on are dropped ('' drops none)
-- with_rescale: whether archived objects are to follow; with_chunks: whether chunks come in the place of those there are
-- state_fields: field, value ...; chunks: number, chunk ...; days: that are dirty; gap_puts: id, gap ...
-- event_texts; messages: channel, message ...
-- RESULT  {'OK'}, {'FENCED'} (another holder) or {'STALE'}: the store is not what the shadows were made of
--
-- There are no commits meanwhile: the caller holds the symbol. A roll-up that came after the shadows were made shows by its
-- version, and none is taken in until changing.until_ms (roll.lua). What else may be gone since (late parts that the
-- archive has got) shows by the lengths.
-- trades: as in commit.lua; the change is a commit without trades. state.reshaped_seq: a reader that comes back with an older
--         cursor is given a new snapshot. book: says in which scale its levels are; one that does not is dropped.
-- rollup.exceptions, outside: where roll-ups are dropped, days are made by another calendar, and say so once they are.
-- months, rolled_15m: those of another scale go; rollup.months: they are to be made again (rolled_month.lua).
-- rescale: archived objects may be of another scale now; as list_rescale.lua has it.

local FIRST_SERIES, FIRST_ROLLED = rewritten.first, rewritten.first + 2

-- with coverage.lua
-- with tell.lua

local function first_id(stream)
  local entry = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  return entry and entry[1]
end

local function last_id(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and entry[1]
end

if redis.call('HGET', owner, 'token') ~= token then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= seq or redis.call('HGET', changing, 'token') ~= token
  or (redis.call('HGET', rollup, 'version') or '0') ~= version then
  return {'STALE'}
end
if with_shadows then
  -- What has been cut off the stream since goes from its shadow, too.
  local shadow, first = KEYS[FIRST_SERIES + 1], first_id(trades)
  if first then
    redis.call('XTRIM', shadow, 'MINID', '=', first)
  end
  if redis.call('XLEN', shadow) ~= redis.call('XLEN', trades) or last_id(shadow) ~= last_id(trades) then
    return {'STALE'}
  end
  for at = FIRST_SERIES + 2, rewritten.last, 2 do
    if redis.call('ZCARD', KEYS[at]) ~= redis.call('ZCARD', KEYS[at + 1]) then
      return {'STALE'}
    end
  end
  for at = FIRST_SERIES, rewritten.last, 2 do
    if redis.call('EXISTS', KEYS[at + 1]) == 1 then
      redis.call('RENAME', KEYS[at + 1], KEYS[at])
    end
  end
  redis.call('DEL', months, rolled_15m)
  redis.call('HDEL', rollup, 'months')
  if redis.call('HEXISTS', book, 'scale') == 0 then
    redis.call('DEL', book)
  end
end

redis.call('XADD', trades, next_seq .. '-0', 'token', token, 'n', '0', 'watermark_ms',
  redis.call('HGET', state, 'watermark_ms'), 'trades', no_trades)
local time = redis.call('TIME')
redis.call('HINCRBY', owner, 'beats', 1)
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HSET', owner, 'beat_ms', now_ms)
redis.call('HSET', state, 'seq', next_seq, 'token', token, 'reshaped_seq', next_seq)

for at = state_fields.first, state_fields.last, 2 do
  redis.call('HSET', state, ARGV[at], ARGV[at + 1])
end
if with_chunks then
  redis.call('DEL', coverage)
  write_chunks(state, coverage, chunks)
end
if rolled_from_ms ~= '' then
  for series = FIRST_ROLLED, FIRST_ROLLED + 4, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[series], rolled_from_ms, '+inf')
  end
  redis.call('HDEL', rollup, 'exceptions')
  redis.call('DEL', outside)
end
for at = days.first, days.last do
  redis.call('ZADD', dirty, next_seq, ARGV[at])
end
for at = gap_puts.first, gap_puts.last, 2 do
  redis.call('HSET', gaps, ARGV[at], ARGV[at + 1])
end
if with_rescale then
  redis.call('DEL', rescale)
  redis.call('ZADD', rescale, '0', 'list')
end
redis.call('DEL', changing)
tell(now_ms)
return {'OK'}
