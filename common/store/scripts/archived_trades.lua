-- Confirm trades that the archive has, read back and found equal.
--
-- manifest: archived:trades
-- token, known_seq: of the state, and trades_seq ('' for none), as they were read, before the trades
-- seq, watermark_ms: of the last commit whose trades are archived now
-- applied: state.applied as of that commit; '' where only a later one's is known
-- from_ms: trades_from_ms, where none is known yet; entries: of each object that was written (manifest.lua)
-- RESULT  {'OK'} or {'STALE'} (another writer, a store that went back in time, another job that came first)
--
-- archive, of trades:
--   trades_seq      the trades of all commits up to this one are archived, but for those of trades_lost
--   trades_ms       watermark of that commit
--   trades_applied  state.applied at that commit: what was applied since is still to be archived
--   trades_from_ms  applied trades that are later (ts_ms > this) are archived, but for trades_lost; of those up to it, which
--                   had left the stream when it was first archived, none need be; -1: from the symbol's first on
--   trades_version  raised with every confirmation: an object may have changed
--   trades_lost     as lost.lua has it

-- with manifest.lua

local at = redis.call('HMGET', state, 'token', 'seq')
if at[1] ~= token or tonumber(at[2]) < tonumber(seq) then
  return {'STALE'}
end
if (redis.call('HGET', archive, 'trades_seq') or '') ~= known_seq then
  return {'STALE'}
end
redis.call('HSET', archive, 'trades_seq', seq, 'trades_ms', watermark_ms)
redis.call('HSETNX', archive, 'trades_from_ms', from_ms)
if applied ~= '' then
  redis.call('HSET', archive, 'trades_applied', applied)
end
for i = entries.first, entries.last do
  note_entry(manifest, faults, 'trades', ARGV[i])
end
confirm(archive, 'trades')
return {'OK'}
