-- Write what a calendar has otherwise, if that is still what was read.
--
-- KEYS  1 calendars
-- ARGV  1 calendar, 2 its exceptions as they were read ('' if there were none), 3 those to be written
-- RESULT  {'OK'} or {'STALE'}
--
-- calendars: by name of the calendar, CalendarExceptions as JSON.

if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
  return {'STALE'}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {'OK'}
