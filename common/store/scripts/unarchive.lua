-- Mark the sealed days of a period as to be archived again, if the store still has what that takes.
--
-- blocks: sealed ones of the series
-- series: its name; floor_field: of it in state; from_ms, end_ms: of the period; max_floor_ms
-- RESULT  {floor of the series, number of days marked}. Nothing is marked if the floor, before which minutes have been
--         dropped, is higher than max_floor_ms: an object that can't be read can only be made again of all its minutes.
--
-- unarchived: as roll.lua has it. From now on retention drops nothing that opens from the first of these days on.

local floor = redis.call('HGET', state, floor_field) or '-1'
local marked = 0
if tonumber(floor) <= tonumber(max_floor_ms) then
  for _, seal in ipairs(redis.call('ZRANGEBYSCORE', seals, from_ms, '(' .. end_ms)) do
    local day = string.match(seal, '^%d+')
    if tonumber(day) >= tonumber(floor) and redis.call('HEXISTS', blocks, day) == 1 then
      redis.call('ZADD', unarchived, redis.call('HINCRBY', rollup, 'version', 1), series .. ':' .. day)
      marked = marked + 1
    end
  end
end
return {floor, marked}
