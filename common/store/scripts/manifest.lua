-- Part of archived.lua, archived_trades.lua, cut.lua, import.lua and rescaled.lua: what the archive is known to have.
--
-- archived:<series>: score the period's open, member '<period>:<rows>:<checksum>:<generation>:<bytes>' of the object as it
--         was confirmed (common.market.manifest).
-- faults: field '<series>:<period>' of an object that was found to be another; gone with the next confirmation.
-- archive: <series>_version, raised with every confirmation; <series>_listed, the version up to which
--         archived:<series> tells all. Where the two differ an earlier release has confirmed, or nothing was ever listed
--         (list_archive.lua): then it does not say what is not there.

local function confirm(archive, series)
  local version = redis.call('HGET', archive, series .. '_version') or '0'
  local raised = redis.call('HINCRBY', archive, series .. '_version', 1)
  if redis.call('HGET', archive, series .. '_listed') == version then
    redis.call('HSET', archive, series .. '_listed', raised)
  end
end

-- Of two that were written one after the other the later may have been confirmed first.
local function note_entry(manifest, faults, series, member)
  local period, generation = string.match(member, '^(-?%d+):[^:]*:[^:]*:(-?%d+):')
  local was = redis.call('ZRANGEBYSCORE', manifest, period, period)[1]
  if was and tonumber(string.match(was, '^[^:]*:[^:]*:[^:]*:(-?%d+):')) > tonumber(generation) then
    return
  end
  redis.call('ZREMRANGEBYSCORE', manifest, period, period)
  redis.call('ZADD', manifest, period, member)
  redis.call('HDEL', faults, series .. ':' .. period)
end
