-- Keep a right that was taken with hold.lua.
--
-- right: the key; token: of who has it; ttl_ms: for how long
-- RESULT  {'OK'}  or  {'LOST'}: it has expired meanwhile, and another may have had it

if redis.call('GET', right) ~= token then
  return {'LOST'}
end
redis.call('PEXPIRE', right, ttl_ms)
return {'OK'}
