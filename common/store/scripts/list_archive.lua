-- Take over what a listing of the archive has shown of a series. What was known of an object stays known, also of one
-- that the listing has not shown: it was confirmed, so it is missing.
--
-- KEYS  1 archive, 2 archived:<series>
-- ARGV  1 series, 2 its version ('' if nothing was ever confirmed) before the archive was listed; then the entry of each
--       object (manifest.lua) ...
-- RESULT  {'OK'} or {'STALE'}: something was confirmed since

local archive, manifest = KEYS[1], KEYS[2]
local series, version = ARGV[1], ARGV[2]
if (redis.call('HGET', archive, series .. '_version') or '') ~= version then
  return {'STALE'}
end
if version == '' then
  -- Left by a symbol of the same name that an earlier release has removed.
  redis.call('DEL', manifest)
end
for i = 3, #ARGV do
  local period = string.match(ARGV[i], '^-?%d+')
  if redis.call('ZCOUNT', manifest, period, period) == 0 then
    redis.call('ZADD', manifest, period, ARGV[i])
  end
end
redis.call('HSET', archive, series .. '_listed', version == '' and '0' or version)
return {'OK'}
