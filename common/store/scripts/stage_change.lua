-- Lay down part of what a change of a symbol's instrument makes of one series, beside the series itself.
--
-- shadow: of a series
-- token: of the change; how, and rows of it:
--       'cut', from, to, ...             (of a sorted set: drop the scores between, both included)
--       or 'put', score, member, ...     (of a sorted set)
--       or 'add', id, token, n, watermark_ms, trades, ...    (of the stream, ascending)
--       or 'hold', ms          (no roll-up is taken in for so long, by the server's clock)
-- RESULT  {'OK'} or {'STALE'}: another change has begun since
--
-- changing: fields token, and until_ms (change.lua). Shadows are deleted when a change begins, and become the series in
--           change.lua; what a change that was killed has left of them is dropped by the next.

if redis.call('HGET', changing, 'token') ~= token then
  return {'STALE'}
end
if how == 'cut' then
  for at = rows.first, rows.last, 2 do
    redis.call('ZREMRANGEBYSCORE', shadow, ARGV[at], ARGV[at + 1])
  end
elseif how == 'hold' then
  local time = redis.call('TIME')
  redis.call('HSET', changing, 'until_ms', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[rows.first]))
elseif how == 'put' then
  for at = rows.first, rows.last, 2 do
    redis.call('ZADD', shadow, ARGV[at], ARGV[at + 1])
  end
else
  for at = rows.first, rows.last, 5 do
    redis.call('XADD', shadow, ARGV[at], 'token', ARGV[at + 1], 'n', ARGV[at + 2], 'watermark_ms', ARGV[at + 3],
      'trades', ARGV[at + 4])
  end
end
return {'OK'}
