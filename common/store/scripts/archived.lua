-- Confirm days that the archive has, read back and found equal.
--
-- KEYS  1 state, 2 unarchived, 3 dirty, 4 archive
-- ARGV  1 token of the state as it was read, 2 series, then day, score, day, score, ...: what was archived, as it was
--       in unarchived then
-- RESULT  {'OK', ms up to which the series is complete in the archive} or {'STALE'}
--
-- archive, of each series: <series>_ms, all closed minutes that open before are in the archive, as they are now; and
--          <series>_from_ms, the first day that ever was archived.

local state, unarchived, dirty, archive = unpack(KEYS)
local series = ARGV[2]
if (redis.call('HGET', state, 'token') or '') ~= ARGV[1] then
  return {'STALE'}
end
local from = tonumber(redis.call('HGET', archive, series .. '_from_ms') or '') or math.huge
for i = 3, #ARGV, 2 do
  from = math.min(from, tonumber(ARGV[i]))
  local member = series .. ':' .. ARGV[i]
  -- Sealed anew since: it stays, for the next job.
  if redis.call('ZSCORE', unarchived, member) == ARGV[i + 1] then
    redis.call('ZREM', unarchived, member)
  end
end
local complete = tonumber(redis.call('HGET', state, 'sealed_to_ms') or '-1')
for _, day in ipairs(redis.call('ZRANGE', dirty, 0, -1)) do
  complete = math.min(complete, tonumber(day))
end
for _, member in ipairs(redis.call('ZRANGE', unarchived, 0, -1)) do
  local name, day = string.match(member, '^(%a+):(%d+)$')
  if name == series then
    complete = math.min(complete, tonumber(day))
  end
end
local complete_ms = string.format('%.0f', complete)
redis.call('HSET', archive, series .. '_ms', complete_ms)
if #ARGV > 2 then
  redis.call('HSET', archive, series .. '_from_ms', string.format('%.0f', from))
end
return {'OK', complete_ms}
