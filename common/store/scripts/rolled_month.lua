-- Take in the roll-up of a month whose days are sealed, or that all months have theirs.
--
-- token, version: of the state and of the rollup, as they were read
-- made_form: the form in which all of them are made now ('' if that is not so yet); month: as month.lua has it
-- RESULT  {'OK'} or {'STALE'}: another writer, or a roll-up of a day, came first
--
-- rollup.months: that form. Of a month that lacks something, days are due, and the last of them makes it (roll.lua).

-- with month.lua

local taken, is_there = listed_month(month, staged)
if (redis.call('HGET', state, 'token') or '') ~= token
  or (redis.call('HGET', rollup, 'version') or '0') ~= version or not is_there then
  return {'STALE'}
end
if taken then
  put_month(taken, staged, months, rolled_15m)
end
if made_form ~= '' then
  redis.call('HSET', rollup, 'months', made_form)
end
return {'OK'}
