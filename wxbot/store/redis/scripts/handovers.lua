-- ARGV: now, limit
-- Returns {openid, until, agent, …}, those that end first before the others.
local told = {}
redis.call('ZREMRANGEBYSCORE', prefix .. 'agents', '-inf', ARGV[1])
local places = redis.call('ZRANGE', prefix .. 'agents', 0, ARGV[2] - 1)
for _, openid in ipairs(places) do
  local known = redis.call('HMGET', conversation(openid), 'handed_over_until', 'agent')
  if known[1] then
    told[#told + 1] = openid
    told[#told + 1] = known[1]
    told[#told + 1] = known[2] or ''
  else
    redis.call('ZREM', prefix .. 'agents', openid)  -- an older wxbot has let the conversation be forgotten
  end
end
return told
