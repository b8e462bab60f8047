-- ARGV: openid, owner, fence, seq, sent, sent_at
local openid, owner, fence, seq, sent, sent_at = unpack(ARGV)
if not is_held(openid, owner, fence) then return LOST end
local dedup = redis.call('ZRANGE', queue(openid), seq, seq, 'BYSCORE')[1]
if dedup then redis.call('HSET', message(openid, dedup), 'sent', sent) end
local key = conversation(openid)
redis.call('HSET', key, 'typing_until', '0', 'interacted_at', later_of(redis.call('HGET', key, 'interacted_at'), sent_at))
return 1
