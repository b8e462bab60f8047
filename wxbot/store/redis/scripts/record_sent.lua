-- ARGV: openid, owner, fence, seq, sent, sent_at, budget (left, until), unsent, state: '' leaves each of them as it is
local openid, owner, fence, seq, sent, sent_at, left, budget_until, unsent, state = unpack(ARGV)
if not is_held(openid, owner, fence) then return LOST end
local dedup = redis.call('ZRANGE', queue(openid), seq, seq, 'BYSCORE')[1]
if dedup then
  redis.call('HSET', message(openid, dedup), 'sent', sent)
  if unsent ~= '' then redis.call('HSET', message(openid, dedup), 'unsent', unsent) end
end
local key = conversation(openid)
local stored = redis.call('HMGET', key, 'interacted_at', 'budget_until')
local values = {'typing_until', '0', 'interacted_at', later_of(stored[1], sent_at)}
add_quota(values, stored[2], left, budget_until)
redis.call('HSET', key, unpack(values))
write_state(key, state)
return 1
