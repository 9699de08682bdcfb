-- Coverage by chunks, from state.format 2 on (common.market.builder.coverage): {S}:coverage has all spans but the newest, field a
-- number, value packed spans; '' takes it away. Its newest span is state.newest_span. Until a symbol is in that format
-- state.coverage has it all. `chunks`: a list of arguments, number and chunk.
local function write_chunks(state, coverage, chunks)
  redis.call('HDEL', state, 'coverage')
  for at = chunks.first, chunks.last, 2 do
    if ARGV[at + 1] == '' then
      redis.call('HDEL', coverage, ARGV[at])
    else
      redis.call('HSET', coverage, ARGV[at], ARGV[at + 1])
    end
  end
end
