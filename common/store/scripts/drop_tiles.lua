-- Part of commit.lua and import.lua: tiles of what has been written anew (tiles.lua).

-- Those of levels made of trades, and with `of_days` of all others, that have a time of `[from_ms, end_ms)`.
local function drop_tiles(levels, from_ms, end_ms, of_days)
  for _, level in ipairs(levels) do
    if (level.source == 'trades' or of_days) and redis.call('EXISTS', level.key) == 1 then
      local opens = {}
      for open = from_ms - from_ms % level.span_ms, end_ms - 1, level.span_ms do
        opens[#opens + 1] = string.format('%.0f', open)
      end
      redis.call('HDEL', level.key, unpack(opens))
    end
  end
end
