-- Write what a calendar has otherwise, if that is still what was read.
--
-- calendars: the key; calendar: its name; exceptions: as they were read ('' if there were none); changed: those to be
--       written
-- RESULT  {'OK'} or {'STALE'}
--
-- calendars: by name of the calendar, CalendarExceptions as JSON.

if (redis.call('HGET', calendars, calendar) or '') ~= exceptions then
  return {'STALE'}
end
redis.call('HSET', calendars, calendar, changed)
return {'OK'}
