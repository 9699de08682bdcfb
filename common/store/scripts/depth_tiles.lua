-- Take in tiles of a book's history: those of an hour, made of its chunks, or those of a UTC day, made of tiles of hours.
--
-- from_ms, end_ms: of the tiles
-- chunk_count: how many chunks the hour had as it was read ('' of a day)
-- made_to_ms: until when all that is over has tiles from now on ('' if it stays as it is)
-- hours: opens of the 30s tiles that a day is made of; tiles: name of a level, head, tile, of each
-- RESULT  {'OK'} or {'STALE'}: what they were made of is not there any more, or the symbol is not
--
-- tiles of a level: field the open (UTC ms) of a tile, and `<open>:head` what is said of it (common.frames.depth_label). What a
-- tile is made of never changes, so one that is there is right, and stays.
-- rollup.depth_tiles: made_to_ms.

if chunk_count ~= '' and redis.call('ZCOUNT', depth, from_ms, '(' .. end_ms) ~= tonumber(chunk_count) then
  return {'STALE'}
end
local keys = {}
for _, level in ipairs(levels) do
  keys[level.name] = level.key
end
for at = hours.first, hours.last do
  if redis.call('HEXISTS', keys['depth:30s'], ARGV[at]) == 0 then
    return {'STALE'}
  end
end
for at = tiles.first, tiles.last, 3 do
  local key = keys[ARGV[at]]
  if redis.call('HEXISTS', key, from_ms) == 0 then
    redis.call('HSET', key, from_ms, ARGV[at + 2], from_ms .. ':head', ARGV[at + 1])
  end
end
if made_to_ms ~= '' then
  redis.call('HSET', rollup, 'depth_tiles', made_to_ms)
end
return {'OK'}
