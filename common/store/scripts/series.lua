-- The series of minutes, as SymbolKeys.of_series and series_arguments list them. The last KEYS are four of each: open
-- minutes, sealed days, late parts, archived:<series>; ARGV from `at` on: how many series there are, then the name of
-- each, and the field of state that has its floor. The first one leads. Returned with where ARGV goes on.
local function listed_series(at)
  local found, count = {}, tonumber(ARGV[at])
  local key = #KEYS - 4 * count
  for i = 1, count do
    found[i] = {name = ARGV[at + 2 * i - 1], floor = ARGV[at + 2 * i], open = KEYS[key + 1], sealed = KEYS[key + 2],
      late = KEYS[key + 3], archived = KEYS[key + 4]}
    key = key + 4
  end
  return found, at + 2 * count + 1
end
