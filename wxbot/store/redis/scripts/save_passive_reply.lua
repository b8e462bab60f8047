-- ARGV: openid, owner, fence, seq, reply, seen milliseconds
-- Returns 1, or 0 if passive_reply has given up on this message.
local openid, owner, fence, seq, reply, seen_ms = unpack(ARGV)
if not is_held(openid, owner, fence) then return LOST end
local dedup = redis.call('ZRANGE', queue(openid), seq, seq, 'BYSCORE')[1]
if not dedup or redis.call('HEXISTS', message(openid, dedup), 'given_up') == 1 then return 0 end
redis.call('SET', passive_reply(openid, dedup), reply, 'PX', seen_ms, 'NX')
return 1
