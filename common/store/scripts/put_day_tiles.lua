-- Part of roll.lua and day_tiles.lua: tiles of a day that is sealed (day_tiles.lua).

-- `packed`: one of each level, '' for none; or nothing, and tiles stay as they are.
local function put_day_tiles(levels, day, packed)
  for i, level in ipairs(packed.first <= packed.last and levels or {}) do
    local tile = ARGV[packed.first + i - 1]
    if tile ~= '' then
      redis.call('HSET', level.key, day, tile)
    else
      redis.call('HDEL', level.key, day)
    end
  end
end
