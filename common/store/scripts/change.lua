-- A symbol's data becomes that of another instrument. All or nothing.
--
-- KEYS  1 owner, 2 state, 3 trades, 4 rollup, 5 dirty, 6 gaps, 7 events, 8 rescale, 9 book, 10 changing,
--       11 outside, 12 coverage; 13 and on: series that are rewritten, each with its shadow behind it: trades,
--       candles:1d, 1w, 1M, the minutes of each series, its late parts
-- ARGV  1 token of the change and of its claim, 2 seq the caller stands at, 3 the next seq
--       4 version of the rollup that the shadows were made at
--       5 a packed batch of no trades, 6 events to keep
--       7 '1' if the series are replaced by their shadows, else ''
--       8 roll-ups that open from there on are dropped (ms; '' drops none), 9 '1' if archived objects are to follow
--       10 number of state pairs, 11 of days that are dirty, 12 of gaps, 13 of events, 14 of messages, 15 of chunks of
--       coverage in the place of those there are ('': these stay); then
--       state field, value ... chunk number, chunk ... day ... gap id, gap ... event ... channel, message ...
-- RESULT  {'OK'}, {'FENCED'} (another holder) or {'STALE'}: the store is not what the shadows were made of
--
-- Nobody commits meanwhile: the caller holds the symbol. A roll-up that came after the shadows were made shows by its
-- version, and none is taken in until changing.until_ms (roll.lua). What else may be gone since (late parts that the
-- archive has got) shows by the lengths.
-- trades: as in commit.lua; the change is a commit without trades. state.reshaped_seq: whoever comes back with an older
--         cursor is given a new snapshot. book: says in which scale its levels are; one that does not is dropped.
-- rollup.exceptions, outside: where roll-ups are dropped, days are made by another calendar, and say so once they are.
-- rescale: archived objects may be of another scale now; as rescaled.lua has it.

local owner, state, trades, rollup, dirty, gaps, events, rescale, book, changing, outside, coverage = unpack(KEYS)
local FIRST_SERIES, FIRST_ROLLED, FIRST_FIELD = 13, 15, 16
local next_seq = ARGV[3]

-- with coverage.lua

local function first_id(stream)
  local entry = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  return entry and entry[1]
end

local function last_id(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and entry[1]
end

if redis.call('HGET', owner, 'token') ~= ARGV[1] then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= ARGV[2] or redis.call('HGET', changing, 'token') ~= ARGV[1]
  or (redis.call('HGET', rollup, 'version') or '0') ~= ARGV[4] then
  return {'STALE'}
end
if ARGV[7] == '1' then
  -- What has been cut off the stream since goes from its shadow, too.
  local shadow, first = KEYS[FIRST_SERIES + 1], first_id(trades)
  if first then
    redis.call('XTRIM', shadow, 'MINID', '=', first)
  end
  if redis.call('XLEN', shadow) ~= redis.call('XLEN', trades) or last_id(shadow) ~= last_id(trades) then
    return {'STALE'}
  end
  for at = FIRST_SERIES + 2, #KEYS, 2 do
    if redis.call('ZCARD', KEYS[at]) ~= redis.call('ZCARD', KEYS[at + 1]) then
      return {'STALE'}
    end
  end
  for at = FIRST_SERIES, #KEYS, 2 do
    if redis.call('EXISTS', KEYS[at + 1]) == 1 then
      redis.call('RENAME', KEYS[at + 1], KEYS[at])
    end
  end
  if redis.call('HEXISTS', book, 'scale') == 0 then
    redis.call('DEL', book)
  end
end

redis.call('XADD', trades, next_seq .. '-0', 'token', ARGV[1], 'n', '0', 'watermark_ms',
  redis.call('HGET', state, 'watermark_ms'), 'trades', ARGV[5])
local time = redis.call('TIME')
redis.call('HINCRBY', owner, 'beats', 1)
redis.call('HSET', owner, 'beat_ms', time[1] .. string.sub(string.format('%06d', time[2]), 1, 3))
redis.call('HSET', state, 'seq', next_seq, 'token', ARGV[1], 'reshaped_seq', next_seq)

local at = FIRST_FIELD
for _ = 1, tonumber(ARGV[10]) do
  redis.call('HSET', state, ARGV[at], ARGV[at + 1])
  at = at + 2
end
if ARGV[15] ~= '' then
  redis.call('DEL', coverage)
  at = write_chunks(state, coverage, at, tonumber(ARGV[15]))
end
if ARGV[8] ~= '' then
  for series = FIRST_ROLLED, FIRST_ROLLED + 4, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[series], ARGV[8], '+inf')
  end
  redis.call('HDEL', rollup, 'exceptions')
  redis.call('DEL', outside)
end
for _ = 1, tonumber(ARGV[11]) do
  redis.call('ZADD', dirty, next_seq, ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[12]) do
  redis.call('HSET', gaps, ARGV[at], ARGV[at + 1])
  at = at + 2
end
if ARGV[9] == '1' then
  redis.call('DEL', rescale)
  redis.call('ZADD', rescale, '0', 'list')
end
redis.call('DEL', changing)
for i = 1, tonumber(ARGV[13]) do
  redis.call('XADD', events, 'MAXLEN', '~', ARGV[6], next_seq .. '-' .. i, 'event', ARGV[at])
  at = at + 1
end
for _ = 1, tonumber(ARGV[14]) do
  redis.call('PUBLISH', ARGV[at], ARGV[at + 1])
  at = at + 2
end
return {'OK'}
