-- args: now
-- Returns {1 if there is an active lease, 1 if it is an incomplete copy, last seq, number of pending messages}.
local waiting = 0
for _, name in ipairs({'waiting', 'leases'}) do  -- a conversation with pending messages is in exactly one of them
  for _, openid in ipairs(redis.call('ZRANGE', prefix .. name, 0, -1)) do
    waiting = waiting + redis.call('ZCARD', queue(openid))
  end
end
local leased = redis.call('ZCOUNT', prefix .. 'leases', '(' .. args.now, '+inf') > 0
return {leased and 1 or 0, redis.call('EXISTS', prefix .. 'copying'), redis.call('GET', prefix .. 'seq') or '0', waiting}
