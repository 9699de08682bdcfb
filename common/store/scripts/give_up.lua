-- Give up an object that is lost: it is not looked for any more, and what it alone had is lost from now on.
--
-- manifest: archived:<series>
-- series: its name; period: its open; last_ms: of what it alone had ('' if that was nothing)
-- RESULT  {'OK'} or {'UNKNOWN'}: no such object was ever confirmed
--
-- archived:<series>: its entry stays, with -2 rows (manifest.lua), until another object takes its place.

-- with lost.lua

local was = redis.call('ZRANGEBYSCORE', manifest, period, period)[1]
if not was then
  return {'UNKNOWN'}
end
local generation = string.match(was, '^[^:]*:[^:]*:[^:]*:(-?%d+):')
redis.call('ZREMRANGEBYSCORE', manifest, period, period)
redis.call('ZADD', manifest, period, period .. ':-2::' .. generation .. ':-1')
redis.call('HDEL', faults, series .. ':' .. period)
if last_ms ~= '' then
  lose(archive, series, {{tonumber(period), tonumber(last_ms)}})
end
return {'OK'}
