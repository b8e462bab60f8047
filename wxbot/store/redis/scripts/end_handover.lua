-- ARGV: openid
-- Returns 1, or 0 if there was no handover.
if redis.call('HEXISTS', conversation(ARGV[1]), 'handed_over_until') == 0 then return 0 end
hand_over(ARGV[1], '0', '')
return 1
