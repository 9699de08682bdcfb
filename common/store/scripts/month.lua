-- Part of roll.lua and rolled_month.lua: a roll-up of sealed days, 15m candles of one UTC month.
--
-- rolled_15m: field month (its open, UTC ms), the block.
-- months: score month, member '<month>:<its end>:<form>:<rows>:<digest of the block>:<day>.<digest>,...': of which days
--         (counted from the month's first, 0) it has the rows, and the digest of the sealed candles they were made of.
--         Readers take the rows of a day whose seal has that digest, and no others: so a month that is behind its days
--         is slower, and never wrong.

-- `list`: nothing, and the month stays as it is; or its open, the digest of the block that is staged ('' for none) and
-- the member. Returns the month (nil for nothing), and whether what is staged is that block.
local function listed_month(list, staged)
  if list.first > list.last then
    return nil, true
  end
  local open, digest, member = unpack(ARGV, list.first, list.last)
  local block = digest ~= '' and redis.call('HGET', staged, open .. ':15m')
  local is_there = digest == '' or (block and string.sub(redis.sha1hex(block), 1, 16) == digest)
  return {open = open, block = block, member = member}, is_there
end

local function put_month(month, staged, months, rolled_15m)
  redis.call('HDEL', staged, month.open .. ':15m')
  redis.call('ZREMRANGEBYSCORE', months, month.open, month.open)
  if month.block then
    redis.call('HSET', rolled_15m, month.open, month.block)
    redis.call('ZADD', months, month.open, month.member)
  else
    redis.call('HDEL', rolled_15m, month.open)
  end
end
