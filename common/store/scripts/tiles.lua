-- Take in tiles of a level that a job made of trades, or of finer tiles.
--
-- level: of the tiles, how wide each is in span_ms
-- token, seq: the commit that they are as of; version: of the rollup, as it was read
-- gone: opens of tiles to be dropped; tiles: open, packed tile ...
-- RESULT  {'OK', open ...} of those that were not taken, or {'STALE'}: none were, for the store was taken over, cut, or
--         rewound since, or more was amended than it remembers
--
-- tiles of a level: field the open (ms UTC) of a span that is over, its cells (common.market.coding.traded_tiles). One is
--         there only if it is what its trades make: what amends a minute drops those that hold it (commit.lua,
--         import.lua), and one that was under way then is not taken, for state.amended tells of it.

local AMENDED_KEPT = 16

local was = redis.call('HMGET', state, 'token', 'seq', 'amended', 'candle_floor_ms')
if was[1] ~= token or tonumber(was[2]) < tonumber(seq)
  or (redis.call('HGET', rollup, 'version') or '0') ~= version then
  return {'STALE'}
end
local since, count = {}, 0
for commit, from_ms, to_ms in string.gmatch(was[3] or '', '(%d+):(%d+):(%d+)') do
  count = count + 1
  if tonumber(commit) > tonumber(seq) then
    since[#since + 1] = {tonumber(from_ms), tonumber(to_ms)}
  end
end
if #since == AMENDED_KEPT and count == AMENDED_KEPT then
  return {'STALE'}
end

local span, floor = tonumber(span_ms), tonumber(was[4] or '-1')
local function is_as_it_was(open)
  for _, amended in ipairs(since) do
    if amended[1] < open + span and amended[2] + 60000 > open then
      return false
    end
  end
  -- Of a minute that has been dropped an amendment need not be told.
  return open >= floor
end

for at = gone.first, gone.last do
  redis.call('HDEL', level, ARGV[at])
end
local answer = {'OK'}
for at = tiles.first, tiles.last, 2 do
  if is_as_it_was(tonumber(ARGV[at])) then
    redis.call('HSET', level, ARGV[at], ARGV[at + 1])
  else
    answer[#answer + 1] = ARGV[at]
  end
end
return answer
