-- ARGV: now
-- Returns {1 if somebody holds a living lease, 1 if it is half a copy, the last number, how many messages wait}.
local waiting = 0
for _, name in ipairs({'waiting', 'leases'}) do  -- a conversation with work is in exactly one of them
  for _, openid in ipairs(redis.call('ZRANGE', prefix .. name, 0, -1)) do
    waiting = waiting + redis.call('ZCARD', queue(openid))
  end
end
local worked = redis.call('ZCOUNT', prefix .. 'leases', '(' .. ARGV[1], '+inf') > 0
return {worked and 1 or 0, redis.call('EXISTS', prefix .. 'copying'), redis.call('GET', prefix .. 'seq') or '0', waiting}
