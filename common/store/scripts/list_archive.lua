-- Take over what a listing of the archive has shown of a series. What was known of an object stays known, also of one
-- that the listing has not shown: it was confirmed, so it is missing.
--
-- manifest: archived:<series>
-- series: its name; version: of it ('' if nothing was ever confirmed) before the archive was listed
-- entries: of each object (manifest.lua)
-- RESULT  {'OK'} or {'STALE'}: something was confirmed since

if (redis.call('HGET', archive, series .. '_version') or '') ~= version then
  return {'STALE'}
end
if version == '' then
  -- Left by a symbol of the same name that an earlier release has removed.
  redis.call('DEL', manifest)
end
for i = entries.first, entries.last do
  local period = string.match(ARGV[i], '^-?%d+')
  if redis.call('ZCOUNT', manifest, period, period) == 0 then
    redis.call('ZADD', manifest, period, ARGV[i])
  end
end
redis.call('HSET', archive, series .. '_listed', version == '' and '0' or version)
return {'OK'}
