-- Take the right to write a symbol, if nobody has it or its holder's heartbeat stands still; by force also if it beats.
--
-- KEYS  1 owner, 2 state, 3 coverage
-- ARGV  1 new token (unique per attempt), 2 and 3 the token and beats the caller has seen unchanged for a whole
--       lease, or '' and '', 4 holder (for people), 5 'force' or '' (an import: the holder that lives finds itself
--       fenced, and waits as any spare does; who took it by force is waited for, also by force), 6 the newest
--       format that the caller knows
-- RESULT  {'OK', epoch, [field, value, ...] of state, server time in ms, [field, value, ...] of coverage},
--         {'BUSY', token, beats}  or  {'NEWER', the format that the symbol is in}
--
-- owner: token ('' after a release), beats (grows with every sign of life), epoch (claims so far, for people),
-- holder, forced (there if this claim was), beat_ms (the server's time of the last beat, for health only: no decision
-- here depends on a clock).

local owner, state, coverage = KEYS[1], KEYS[2], KEYS[3]

local format = redis.call('HGET', state, 'format') or '1'
if tonumber(format) > tonumber(ARGV[6]) then
  return {'NEWER', format}
end

local token = redis.call('HGET', owner, 'token')
local may_force = ARGV[5] == 'force' and not redis.call('HGET', owner, 'forced')
if token and token ~= '' and not may_force then
  local beats = redis.call('HGET', owner, 'beats')
  if token ~= ARGV[2] or beats ~= ARGV[3] then
    return {'BUSY', token, beats}
  end
end

local time = redis.call('TIME')
local epoch = redis.call('HINCRBY', owner, 'epoch', 1)
redis.call('HINCRBY', owner, 'beats', 1)
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HSET', owner, 'token', ARGV[1], 'holder', ARGV[4], 'beat_ms', now_ms)
if ARGV[5] == 'force' then
  redis.call('HSET', owner, 'forced', epoch)
else
  redis.call('HDEL', owner, 'forced')
end
return {'OK', epoch, redis.call('HGETALL', state), now_ms, redis.call('HGETALL', coverage)}
