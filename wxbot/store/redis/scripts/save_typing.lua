-- ARGV: openid, owner, fence, typing_until
-- Returns interacted_at.
local openid, owner, fence, typing_until = unpack(ARGV)
if not is_held(openid, owner, fence) then return LOST end
redis.call('HSET', conversation(openid), 'typing_until', typing_until)
return redis.call('HGET', conversation(openid), 'interacted_at')
