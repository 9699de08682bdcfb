-- Part of roll.lua, import.lua and cut.lua: how many trades of a day lie outside every session.
--
-- outside: field day (UTC, its open), trades; days without any are not there. Field total: their sum.

-- `count`: '' where it is not known.
local function note_outside(outside, day, count)
  local was = redis.call('HGET', outside, day) or '0'
  if count == '' or count == was then
    return
  end
  redis.call('HINCRBY', outside, 'total', string.format('%.0f', tonumber(count) - tonumber(was)))
  if count == '0' then
    redis.call('HDEL', outside, day)
  else
    redis.call('HSET', outside, day, count)
  end
end
