-- The series of minutes, as SymbolKeys.of_series and series_arguments list them. The last KEYS are four of each: open
-- minutes, sealed days, late parts, archived:<series>; in the list its name, and the field of state that has its floor.
-- The first one leads.
local function listed_series(list)
  local found, key = {}, #KEYS - 2 * (list.last - list.first + 1)
  for at = list.first, list.last, 2 do
    found[#found + 1] = {name = ARGV[at], floor = ARGV[at + 1], open = KEYS[key + 1], sealed = KEYS[key + 2],
      late = KEYS[key + 3], archived = KEYS[key + 4]}
    key = key + 4
  end
  return found
end
