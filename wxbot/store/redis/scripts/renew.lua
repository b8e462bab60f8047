-- args: lease_until, leases ({openid, owner, fence} of each)
-- Returns {openid, record, …} of the leases that their owners still hold.
local renewed = {}
for _, lease in ipairs(args.leases) do
  args.openid, args.owner, args.fence = unpack(lease)
  if is_held() then
    redis.call('HSET', conversation(args.openid), 'lease_until', args.lease_until)
    redis.call('ZADD', prefix .. 'leases', args.lease_until, args.openid)
    renewed[#renewed + 1] = args.openid
    renewed[#renewed + 1] = record_of(args.openid)
  end
end
return renewed
