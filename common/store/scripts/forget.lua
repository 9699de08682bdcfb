-- Give up an object of trades that is lost: what it had is lost from now on, and nobody looks for it any more.
--
-- KEYS  1 archive, 2 archived:trades
-- ARGV  1 the period's open, 2 its last ms
-- RESULT  {'OK', number of entries that were there}

local archive, manifest = KEYS[1], KEYS[2]

-- with lost.lua

local count = redis.call('ZREMRANGEBYSCORE', manifest, ARGV[1], ARGV[1])
if count > 0 then
  lose(archive, {{tonumber(ARGV[1]), tonumber(ARGV[2])}})
end
return {'OK', count}
