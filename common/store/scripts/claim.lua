-- Take the right to write a symbol, if it is free or its holder's heartbeat stands still; by force also if it beats.
--
-- token: new, and unique per attempt; holder: for people
-- seen_token, seen_beats: what the caller has seen unchanged for a whole lease, or '' and ''
-- force: of an import: the holder that lives finds itself fenced, and waits as any spare does; who took it by force is
--       waited for, also by force
-- newest_format: that the caller knows
-- events_kept: at most: that another holder has it is an event, once there was one
-- RESULT  {'OK', epoch, [field, value, ...] of state, server time in ms, [field, value, ...] of coverage},
--         {'BUSY', token, beats}  or  {'NEWER', the format that the symbol is in}
--
-- owner: token ('' after a release), beats (grows with every sign of life), epoch (claims so far, for people),
-- holder, forced (there if this claim was), beat_ms (the server's time of the last beat, for health only: no decision
-- here depends on a clock).

-- with tell_event.lua

local format = redis.call('HGET', state, 'format') or '1'
if tonumber(format) > tonumber(newest_format) then
  return {'NEWER', format}
end

local was = redis.call('HGET', owner, 'token')
local may_force = force and not redis.call('HGET', owner, 'forced')
if was and was ~= '' and not may_force then
  local beats = redis.call('HGET', owner, 'beats')
  if was ~= seen_token or beats ~= seen_beats then
    return {'BUSY', was, beats}
  end
end

local time = redis.call('TIME')
local epoch = redis.call('HINCRBY', owner, 'epoch', 1)
redis.call('HINCRBY', owner, 'beats', 1)
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HSET', owner, 'token', token, 'holder', holder, 'beat_ms', now_ms)
if epoch > 1 then
  local seq = redis.call('HGET', state, 'seq') or '0'
  tell_next(seq, '{"type":"taken","symbol":"' .. string.match(events, '^{([^}]*)}') .. '","seq":' .. seq .. ',"token":"'
    .. token .. '","epoch":' .. epoch .. ',"holder":' .. cjson.encode(holder) .. '}', now_ms)
end
if force then
  redis.call('HSET', owner, 'forced', epoch)
else
  redis.call('HDEL', owner, 'forced')
end
return {'OK', epoch, redis.call('HGETALL', state), now_ms, redis.call('HGETALL', coverage)}
