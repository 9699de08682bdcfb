-- The newest minute of each step of time, and its close, of minutes that are not sealed. Reads only.
--
-- minutes: candles; from_ms, step_ms, count: steps; what is found first is of all time before them
-- RESULT  {opens, closes}: 8 bytes a step as they are packed, of -1 where there is no minute
--
-- A packed candle has its open at byte 0 and its close at byte 32 (common/market/coding/codec.py).

local from, step, opens, closes = tonumber(from_ms), tonumber(step_ms), {}, {}
local NONE = string.rep('\255', 8)
-- Most of a day is sealed: nothing is looked for where nothing is left.
local oldest = tonumber(redis.call('ZRANGE', minutes, 0, 0, 'WITHSCORES')[2] or 'inf')
for at = 0, tonumber(count) do
  local end_ms, newest = from + at * step
  if oldest < end_ms then
    local least = at == 0 and '-inf' or string.format('%.0f', end_ms - step)
    newest = redis.call('ZREVRANGEBYSCORE', minutes, string.format('(%.0f', end_ms), least, 'LIMIT', '0', '1')[1]
  end
  opens[at + 1] = newest and string.sub(newest, 1, 8) or NONE
  closes[at + 1] = newest and string.sub(newest, 33, 40) or NONE
end
return {table.concat(opens), table.concat(closes)}
