-- args: openid, owner, fence, change, seq (nil for no progress), sent, unsent
-- Returns the record of the conversation.
if not is_held() then return LOST end
local dedup = args.seq and dedup_of_seq()
if dedup then
  redis.call('HSET', message(args.openid, dedup), 'sent', args.sent)
  if args.unsent then redis.call('HSET', message(args.openid, dedup), 'unsent', args.unsent) end
end
change_by_owner()
return record_of(args.openid)
