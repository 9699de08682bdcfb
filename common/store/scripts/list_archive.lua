-- Take over what a listing of the archive has shown of a series, in place of what was known.
--
-- KEYS  1 archive, 2 archived:<series>
-- ARGV  1 series, 2 its version ('' if none) before the archive was listed; then the entry of each object
--       (manifest.lua) ...
-- RESULT  {'OK'} or {'STALE'}: something was confirmed since

if (redis.call('HGET', KEYS[1], ARGV[1] .. '_version') or '') ~= ARGV[2] then
  return {'STALE'}
end
redis.call('DEL', KEYS[2])
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[2], string.match(ARGV[i], '^-?%d+'), ARGV[i])
end
redis.call('HSET', KEYS[1], ARGV[1] .. '_listed', ARGV[2] == '' and '0' or ARGV[2])
return {'OK'}
