-- ARGV: openid
-- Returns 1, or 0 if the bot had the user already.
if redis.call('HEXISTS', conversation(ARGV[1]), 'handed_over_until') == 0 then return 0 end
hand_over(ARGV[1], '0', '')
return 1
