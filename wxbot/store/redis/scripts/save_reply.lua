-- args: openid, owner, fence, seq, reply, dedup_ms
-- Returns 1, or 0 if give_up was called for this message.
if not is_held() then return LOST end
local dedup = dedup_of_seq()
if not dedup or redis.call('HEXISTS', message(args.openid, dedup), 'given_up') == 1 then return 0 end
redis.call('SET', passive_reply(args.openid, dedup), args.reply, 'PX', args.dedup_ms, 'NX')
return 1
