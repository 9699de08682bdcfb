-- Part of commit.lua, beat.lua and release.lua: what a holder says of the symbol's health.
--
-- health: the fields as they were last told; since_ms: the server's time since when mode and reason are what they are.
-- `fields`: a list of arguments, field and value. `seq`: of the last commit. A change of mode or reason is an event.
local function note_health(fields, seq, now_ms)
  if fields.first > fields.last then
    return
  end
  local was = redis.call('HMGET', health, 'mode', 'reason')
  redis.call('HSET', health, unpack(ARGV, fields.first, fields.last))
  local is = redis.call('HMGET', health, 'mode', 'reason')
  local function stands(found)
    local reason = found[2] and found[2] ~= '' and '"' .. found[2] .. '"' or 'null'
    return '"mode":"' .. found[1] .. '","reason":' .. reason
  end
  if was[1] == is[1] and (was[2] or '') == (is[2] or '') then
    return
  end
  redis.call('HSET', health, 'since_ms', now_ms)
  if was[1] and is[1] then
    local symbol = string.match(events, '^{([^}]*)}')
    tell_next(seq, '{"type":"health","symbol":"' .. symbol .. '","seq":' .. seq .. ',"token":"' .. token .. '",'
      .. stands(is) .. ',"was":{' .. stands(was) .. '}}', now_ms)
  end
end
