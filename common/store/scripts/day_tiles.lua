-- Take in tiles of a sealed day, or that all sealed days have theirs.
--
-- token, version: of the state and of the rollup, as they were read
-- day: its open, UTC ms; packed: its tile of each level, '' for none; empty where no day is taken in
-- made_form: the form in which all of them are made now ('' if that is not so yet)
-- RESULT  {'OK'} or {'STALE'}: another writer, or a roll-up of a day, came first
--
-- tiles of a level: field day. Each names the seal of the day that it was made of, and readers take it only with that.
-- rollup.tiles: that form.

-- with put_day_tiles.lua

if (redis.call('HGET', state, 'token') or '') ~= token
  or (redis.call('HGET', rollup, 'version') or '0') ~= version then
  return {'STALE'}
end
put_day_tiles(levels, day, packed)
if made_form ~= '' then
  redis.call('HSET', rollup, 'tiles', made_form)
end
return {'OK'}
