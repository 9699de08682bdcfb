-- Part of commit.lua, cut.lua and mark.lua: roll-ups of sealed days that go (month.lua).

-- Those that open between `first` and `last`, as ZRANGEBYSCORE has them, and end from `least_end` to `most_end`.
local function forget_months(months, rolled_15m, first, last, least_end, most_end)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', months, first, last)) do
    local open, end_ms = string.match(member, '^(%d+):(%d+):')
    if tonumber(end_ms) >= least_end and tonumber(end_ms) <= most_end then
      redis.call('ZREM', months, member)
      redis.call('HDEL', rolled_15m, open)
    end
  end
end
