-- Part of commit.lua, import.lua and give_up.lua: times of a series that the archive will never have.
--
-- archive.<series>_lost: '<from_ms>:<to_ms>;...', both ends included, ascending. What lies in them is partial. Spans with
-- less than a minute between them are one; of more than MAX_LOST the oldest are, too.

local MAX_LOST = 64

-- `spans`: {from_ms, to_ms} each, in any order.
local function lose(archive, series, spans)
  if #spans == 0 then
    return
  end
  for from_ms, to_ms in string.gmatch(redis.call('HGET', archive, series .. '_lost') or '', '(%d+):(%d+)') do
    table.insert(spans, {tonumber(from_ms), tonumber(to_ms)})
  end
  table.sort(spans, function(a, b) return a[1] < b[1] end)
  local lost = {}
  for _, span in ipairs(spans) do
    local last = lost[#lost]
    if last and span[1] < last[2] + 60000 then
      last[2] = math.max(last[2], span[2])
    else
      table.insert(lost, span)
    end
  end
  while #lost > MAX_LOST do
    lost[2][1] = lost[1][1]
    table.remove(lost, 1)
  end
  for at, span in ipairs(lost) do
    lost[at] = string.format('%.0f:%.0f', span[1], span[2])
  end
  redis.call('HSET', archive, series .. '_lost', table.concat(lost, ';'))
end
