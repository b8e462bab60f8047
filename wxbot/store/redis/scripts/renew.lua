-- ARGV: lease_until, then for each lease openid, owner, fence
-- Returns {openid, interacted_at, terms, …} of those that are still their owner's.
local held = {}
for i = 2, #ARGV, 3 do
  local openid = ARGV[i]
  if is_held(openid, ARGV[i + 1], ARGV[i + 2]) then
    redis.call('HSET', conversation(openid), 'lease_until', ARGV[1])
    redis.call('ZADD', prefix .. 'leases', ARGV[1], openid)
    held[#held + 1] = openid
    held[#held + 1] = redis.call('HGET', conversation(openid), 'interacted_at')
    held[#held + 1] = terms_of(openid)
  end
end
return held
