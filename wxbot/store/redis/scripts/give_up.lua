-- args: openid, dedup
-- Returns the passive reply, or nothing.
local kind = redis.call('TYPE', message(args.openid, args.dedup)).ok
if kind == 'none' then return nil end
local reply = redis.call('GET', passive_reply(args.openid, args.dedup))
-- A dedup record (a string) never gets a reply, so there is nothing to give up.
if not reply and kind == 'hash' then redis.call('HSET', message(args.openid, args.dedup), 'given_up', '1') end
return reply
