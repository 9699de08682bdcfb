-- Publish what changed of a derived series, note how far it has been told, and keep its newest value. All or nothing,
-- and only by the feed that has the right to.
--
-- token: of the feed's right; channel: where to publish; messages; name: of the channel without the symbol
-- progress: '<seq>-<token of the writer> <watermark_ms>' ('' forgets it); kept_ms: how long it outlives the last word
-- latest: the key of the newest value; latest_value ('' leaves it), latest_seq and latest_token (the writer's): the
-- commit it is true of; latest_ms: how long it lives
-- RESULT  {'OK'} or {'LOST'}: another feed has the right, or nobody
--
-- published: field name, progress: the commit up to which subscribers have been told, and its watermark.
-- latest: JSON with "seq" and "token" side by side. Of one writer none is replaced by an older one.

if redis.call('GET', publisher) ~= token then
  return {'LOST'}
end
for at = messages.first, messages.last do
  redis.call('PUBLISH', channel, ARGV[at])
end
if progress ~= '' then
  redis.call('HSET', published, name, progress)
  redis.call('PEXPIRE', published, kept_ms)
else
  redis.call('HDEL', published, name)
end
if latest_value ~= '' then
  local seq, writer = string.match(redis.call('GET', latest) or '', '"seq":(%d+),"token":"(%w*)"')
  if writer ~= latest_token or tonumber(seq) <= tonumber(latest_seq) then
    redis.call('SET', latest, latest_value, 'PX', latest_ms)
  end
end
return {'OK'}
