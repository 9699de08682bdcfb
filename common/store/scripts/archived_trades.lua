-- Confirm trades that the archive has, read back and found equal.
--
-- KEYS  1 state, 2 archive, 3 archived:trades, 4 faults
-- ARGV  1 token of the state and 2 trades_seq ('' for none) as they were read, before the trades
--       3 the last commit whose trades are archived now, 4 its watermark_ms
--       5 state.applied as of that commit; '' where only a later one's is known
--       6 trades_from_ms, where none is known yet; then the entry of each object that was written (manifest.lua) ...
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

local state, archive, manifest, faults = unpack(KEYS)

-- with manifest.lua

local at = redis.call('HMGET', state, 'token', 'seq')
if at[1] ~= ARGV[1] or tonumber(at[2]) < tonumber(ARGV[3]) then
  return {'STALE'}
end
if (redis.call('HGET', archive, 'trades_seq') or '') ~= ARGV[2] then
  return {'STALE'}
end
redis.call('HSET', archive, 'trades_seq', ARGV[3], 'trades_ms', ARGV[4])
redis.call('HSETNX', archive, 'trades_from_ms', ARGV[6])
if ARGV[5] ~= '' then
  redis.call('HSET', archive, 'trades_applied', ARGV[5])
end
for i = 7, #ARGV do
  note_entry(manifest, faults, 'trades', ARGV[i])
end
confirm(archive, 'trades')
return {'OK'}
