-- Part of every script that tells of what it did: an event, as it is stored and published.
--
-- events: id <seq>-<i>, field event: JSON, an object, to which its id and the server's time are added.

local function tell_event(id, text, now_ms)
  local told = string.sub(text, 1, -2) .. ',"eventId":"' .. id .. '","at":' .. now_ms .. '}'
  redis.call('XADD', events, 'MAXLEN', '~', events_kept, id, 'event', told)
  return told
end

-- One more of a commit that has been told of.
local function tell_next(seq, text, now_ms)
  local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  local newest_seq, n = string.match(newest and newest[1] or '0-0', '^(%d+)-(%d+)$')
  n = newest_seq == seq and tonumber(n) or 0
  redis.call('PUBLISH', events, tell_event(seq .. '-' .. n + 1, text, now_ms))
end
