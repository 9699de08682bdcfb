-- Confirm days that the archive has, read back and found equal.
--
-- late, manifest: of the series, late parts and archived:<series>
-- token: of the state as it was read; series: its name
-- merged_seq: the newest commit whose late parts were merged ('' if none were), of minutes that open from merged_from_ms
--       on, before merged_end_ms
-- entry: of the object that was written, as manifest.lua has it ('' if none was)
-- days: day, score ... that are archived, as they were in unarchived then; lost: days neither sealed nor archived
-- RESULT  {'OK', ms up to which the series is complete in the archive} or {'STALE'}
--
-- archive, of each series: <series>_ms, all closed minutes that open before are in the archive, as they are now;
--          <series>_from_ms, the first day that ever was archived; <series>_version, raised with every confirmation.

-- with manifest.lua

if (redis.call('HGET', state, 'token') or '') ~= token then
  return {'STALE'}
end
local from = tonumber(redis.call('HGET', archive, series .. '_from_ms') or '') or math.huge
for i = lost.first, lost.last do
  redis.call('ZREM', unarchived, series .. ':' .. ARGV[i])
end
for i = days.first, days.last, 2 do
  from = math.min(from, tonumber(ARGV[i]))
  local member = series .. ':' .. ARGV[i]
  -- Else it was sealed again since, and stays for the next job; or another job has confirmed it: of two that write one
  -- object, the later has read what the earlier wrote.
  if redis.call('ZSCORE', unarchived, member) == ARGV[i + 1] then
    redis.call('ZREM', unarchived, member)
  end
end
if merged_seq ~= '' then
  for _, part in ipairs(redis.call('ZRANGEBYSCORE', late, merged_from_ms, '(' .. merged_end_ms)) do
    if tonumber(string.match(part, '^%w+:(%d+):')) <= tonumber(merged_seq) then
      redis.call('ZREM', late, part)
    end
  end
end
-- Up to which open a series is complete: its days that wait for the archive, and those that are to be rolled up, are not.
local sealed_to = tonumber(redis.call('HGET', state, 'sealed_to_ms') or '-1')
for _, day in ipairs(redis.call('ZRANGE', dirty, 0, -1)) do
  sealed_to = math.min(sealed_to, tonumber(day))
end
local waiting = redis.call('ZRANGE', unarchived, 0, -1)
local function complete_ms(name)
  local to = sealed_to
  for _, member in ipairs(waiting) do
    local of, day = string.match(member, '^(%a+):(%d+)$')
    if of == name then
      to = math.min(to, tonumber(day))
    end
  end
  return string.format('%.0f', to)
end
local complete = complete_ms(series)
redis.call('HSET', archive, series .. '_ms', complete)
-- A day that was to be rolled up when another series was confirmed may have had nothing for it: then that is no job of
-- its own, and is seen here.
for _, field in ipairs(redis.call('HKEYS', archive)) do
  local name = string.match(field, '^(%a+)_from_ms$')
  local was = name and name ~= 'trades' and name ~= series and redis.call('HGET', archive, name .. '_ms')
  local now = was and complete_ms(name)
  if was and tonumber(was) < tonumber(now) then
    redis.call('HSET', archive, name .. '_ms', now)
  end
end
if entry ~= '' then
  note_entry(manifest, faults, series, entry)
end
if days.first <= days.last then
  redis.call('HSET', archive, series .. '_from_ms', string.format('%.0f', from))
  confirm(archive, series)
end
return {'OK', complete}
