-- ARGV: openid, dedup key, give up (1 or 0)
-- Returns the answer, or nothing.
local openid, dedup, give_up = unpack(ARGV)
local kind = redis.call('TYPE', message(openid, dedup)).ok
if kind == 'none' then return nil end
local answer = redis.call('GET', passive_reply(openid, dedup))
-- Once the message is a trace nobody answers it any more.
if not answer and give_up == '1' and kind == 'hash' then redis.call('HSET', message(openid, dedup), 'given_up', '1') end
return answer
