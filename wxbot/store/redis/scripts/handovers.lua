-- args: now, limit
-- Returns {openid, until, agent, …}, those that end first before the others.
local found = {}
redis.call('ZREMRANGEBYSCORE', prefix .. 'agents', '-inf', args.now)
local openids = redis.call('ZRANGE', prefix .. 'agents', 0, args.limit - 1)
for _, openid in ipairs(openids) do
  local stored = redis.call('HMGET', conversation(openid), 'handed_over_until', 'agent')
  if stored[1] then
    found[#found + 1] = openid
    found[#found + 1] = stored[1]
    found[#found + 1] = stored[2] or ''
  else
    redis.call('ZREM', prefix .. 'agents', openid)  -- the conversation has expired (written by an older wxbot)
  end
end
return found
