-- Part of commit.lua, import.lua and change.lua: the events of a step, and what is published of it.
-- with tell_event.lua

local function tell(now_ms)
  local told, published = {}, 0
  for at = event_texts.first, event_texts.last do
    table.insert(told, tell_event(next_seq .. '-' .. #told + 1, ARGV[at], now_ms))
  end
  for at = messages.first, messages.last, 2 do
    local text = ARGV[at + 1]
    if ARGV[at] == events then
      -- The same as in the stream.
      published = published + 1
      text = told[published]
    end
    redis.call('PUBLISH', ARGV[at], text)
  end
end
