-- Part of commit.lua, import.lua and change.lua: the events of a step, and what is published of it.
--
-- events: id <seq>-<i>, field event (JSON).

local function tell()
  for at = event_texts.first, event_texts.last do
    local id = next_seq .. '-' .. at - event_texts.first + 1
    redis.call('XADD', events, 'MAXLEN', '~', events_kept, id, 'event', ARGV[at])
  end
  for at = messages.first, messages.last, 2 do
    redis.call('PUBLISH', ARGV[at], ARGV[at + 1])
  end
end
