-- ARGV: openid, dedup key, give up (1 or 0)
-- Returns the passive reply, or nothing.
local openid, dedup, give_up = unpack(ARGV)
local kind = redis.call('TYPE', message(openid, dedup)).ok
if kind == 'none' then return nil end
local reply = redis.call('GET', passive_reply(openid, dedup))
-- A dedup record (a string) never gets a reply, so there is nothing to give up.
if not reply and give_up == '1' and kind == 'hash' then redis.call('HSET', message(openid, dedup), 'given_up', '1') end
return reply
