-- Take or keep one of a bounded number of places. Where none is free, who came into focus last gets that of the one
-- whose focus is oldest; of those not in focus, the one that has had its place longest goes first.
--
-- places, leaving, holders: the keys; who; most: how many places there are; for_ms: for how long one is taken
-- focused_ms: since when `who` is in focus; 0: it is not. is_trial: say what would be, and change nothing
-- RESULT  {'OK'}
--         {'WAIT'}  it has a place, and the one that it was taken from has yet to leave: to be asked again
--         {'FULL'}
--
-- places: a sorted set of who has one, by the time (ms of the server's clock) until which it is kept.
-- leaving: a sorted set of who has lost one and may still use it, by the same time.
-- holders: of who has a place '<focused_ms>:<since when it has it>:<1: it may use it, 0: it waits>'.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local gone = redis.call('ZRANGEBYSCORE', places, '-inf', now_ms)
for _, each in ipairs(gone) do
  redis.call('ZREM', places, each)
  redis.call('HDEL', holders, each)
end
redis.call('ZREMRANGEBYSCORE', leaving, '-inf', now_ms)

local function parts(each)
  local focused, since, uses = string.match(redis.call('HGET', holders, each) or '', '(%d+):(%d+):(%d)')
  -- One of an earlier release does not say.
  return tonumber(focused or 0), tonumber(since or 0), uses or '1'
end

local function weakest()
  local found, least_focused, least_since
  for _, each in ipairs(redis.call('ZRANGE', places, 0, -1)) do
    local focused, since = parts(each)
    if not found or focused < least_focused or (focused == least_focused and since < least_since) then
      found, least_focused, least_since = each, focused, since
    end
  end
  return found, least_focused
end

local has = redis.call('ZSCORE', places, who)
if not has and redis.call('ZCARD', places) >= tonumber(most) then
  if focused_ms == '0' then
    return {'FULL'}
  end
  local loser, least_focused = weakest()
  if not loser or least_focused >= tonumber(focused_ms) then
    return {'FULL'}
  end
  if not is_trial then
    redis.call('ZADD', leaving, redis.call('ZSCORE', places, loser), loser)
    redis.call('ZREM', places, loser)
    redis.call('HDEL', holders, loser)
  end
end
if is_trial then
  return {'OK'}
end

local _, since, uses = parts(who)
if not has then
  since, uses = now_ms, '0'
  redis.call('ZREM', leaving, who)
end
redis.call('ZADD', places, now_ms + for_ms, who)
if uses == '0' and redis.call('ZCARD', places) + redis.call('ZCARD', leaving) <= tonumber(most) then
  uses = '1'
end
redis.call('HSET', holders, who, string.format('%s:%.0f:%s', focused_ms, since, uses))
return {uses == '1' and 'OK' or 'WAIT'}
