-- ARGV: lease_until, then for each lease openid, owner, fence
-- Returns {openid, interacted_at, quota and handover, …} of the leases that their owners still hold.
local renewed = {}
for i = 2, #ARGV, 3 do
  local openid = ARGV[i]
  if is_held(openid, ARGV[i + 1], ARGV[i + 2]) then
    redis.call('HSET', conversation(openid), 'lease_until', ARGV[1])
    redis.call('ZADD', prefix .. 'leases', ARGV[1], openid)
    renewed[#renewed + 1] = openid
    renewed[#renewed + 1] = redis.call('HGET', conversation(openid), 'interacted_at')
    renewed[#renewed + 1] = quota_and_handover_of(openid)
  end
end
return renewed
