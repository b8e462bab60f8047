-- args: openid
-- Returns 1, or 0 if there was no handover.
if redis.call('HEXISTS', conversation(args.openid), 'handed_over_until') == 0 then return 0 end
hand_over(args.openid, '0', '')
return 1
