-- ARGV: lease_until, then for each lease openid, owner, fence
-- Returns {openid, interacted_at, handed over until, agent, …} of those that are still their owner's.
local held = {}
for i = 2, #ARGV, 3 do
  local openid = ARGV[i]
  if is_held(openid, ARGV[i + 1], ARGV[i + 2]) then
    redis.call('HSET', conversation(openid), 'lease_until', ARGV[1])
    redis.call('ZADD', prefix .. 'leases', ARGV[1], openid)
    local known = redis.call('HMGET', conversation(openid), 'interacted_at', 'handed_over_until', 'agent')
    held[#held + 1] = openid
    held[#held + 1] = known[1]
    held[#held + 1] = known[2] or '0'
    held[#held + 1] = known[3] or ''
  end
end
return held
