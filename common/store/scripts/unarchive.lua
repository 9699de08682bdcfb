-- Mark the sealed days of a period as to be archived again, if the store still has what that takes.
--
-- KEYS  1 state, 2 seals, 3 unarchived, 4 rollup, 5 sealed blocks of the series
-- ARGV  1 series ('candles', 'footprints'), 2 from (UTC ms), 3 before, 4 floor at most, 5 the field that has the floor
-- RESULT  {floor of the series, number of days marked}. Nothing is marked if the floor, before which minutes have been
--         dropped, is higher than ARGV 4: an object that can't be read can only be made again of all its minutes.
--
-- unarchived: as roll.lua has it. From now on retention drops nothing that opens from the first of these days on.

local state, seals, unarchived, rollup, blocks = unpack(KEYS)
local series = ARGV[1]
local floor = redis.call('HGET', state, ARGV[5]) or '-1'
local marked = 0
if tonumber(floor) <= tonumber(ARGV[4]) then
  for _, seal in ipairs(redis.call('ZRANGEBYSCORE', seals, ARGV[2], '(' .. ARGV[3])) do
    local day = string.match(seal, '^%d+')
    if tonumber(day) >= tonumber(floor) and redis.call('HEXISTS', blocks, day) == 1 then
      redis.call('ZADD', unarchived, redis.call('HINCRBY', rollup, 'version', 1), series .. ':' .. day)
      marked = marked + 1
    end
  end
end
return {floor, marked}
