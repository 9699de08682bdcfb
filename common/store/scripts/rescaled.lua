-- An archived object is of its symbol's scale now: nothing is left to do of it.
--
-- manifest: archived:<series>
-- instrument: state.instrument as the caller read it; series, period: of the object
-- entry: of the object that was written for it (manifest.lua; '' if none was)
-- RESULT  {'OK'} or {'STALE'}: the symbol has been changed since
--
-- rescale: as list_rescale.lua has it.

-- with manifest.lua

if (redis.call('HGET', state, 'instrument') or '') ~= instrument then
  return {'STALE'}
end
redis.call('ZREM', rescale, series .. ':' .. period)
if entry ~= '' then
  note_entry(manifest, faults, series, entry)
end
return {'OK'}
