-- A sign of life without a commit.
--
-- KEYS  1 owner, 2 state, 3 health
-- ARGV  1 token, 2 seq the holder stands at, then field, value, ... of health
-- RESULT  {'OK', server time in ms}, {'FENCED'} (another holder) or {'STALE'} (the store is not where the holder left
--         it)

local owner, state, health = KEYS[1], KEYS[2], KEYS[3]

if redis.call('HGET', owner, 'token') ~= ARGV[1] then
  return {'FENCED'}
end
if (redis.call('HGET', state, 'seq') or '0') ~= ARGV[2] then
  return {'STALE'}
end

local time = redis.call('TIME')
redis.call('HINCRBY', owner, 'beats', 1)
local now_ms = time[1] .. string.sub(string.format('%06d', time[2]), 1, 3)
redis.call('HSET', owner, 'beat_ms', now_ms)
for i = 3, #ARGV, 2 do
  redis.call('HSET', health, ARGV[i], ARGV[i + 1])
end
return {'OK', now_ms}
