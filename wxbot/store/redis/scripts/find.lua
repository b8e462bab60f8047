-- args: openid, dedup
-- Returns {record and state, 1 if the message is known, passive reply}.
local key, reply = message(args.openid, args.dedup), passive_reply(args.openid, args.dedup)
local is_known = redis.call('EXISTS', key)
return {record_of(args.openid, 'state'), is_known, is_known == 1 and redis.call('GET', reply)}
