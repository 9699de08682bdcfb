-- Take, keep or give up a right that one process has at a time, and that ends by itself.
--
-- right: the key; token: of who asks; ttl_ms: for how long (0: give it up)
-- RESULT  {'OK'}  or  {'BUSY'}: another has it
--
-- right: the holder's token; the key expires with the right. The server's clock decides, so this guards no data: it
-- only keeps two processes from doing the same work.

local holder = redis.call('GET', right)
if holder and holder ~= token then
  return {'BUSY'}
end
if ttl_ms == '0' then
  redis.call('DEL', right)
else
  redis.call('SET', right, token, 'PX', ttl_ms)
end
return {'OK'}
