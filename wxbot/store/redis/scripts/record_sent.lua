-- ARGV: openid, owner, fence, seq, sent, sent_at, budget (left, until), unsent, state: '' leaves each of them as it is
local openid, owner, fence, seq, sent, sent_at, left, budget_until, unsent, state = unpack(ARGV)
if not is_held(openid, owner, fence) then return LOST end
local dedup = redis.call('ZRANGE', queue(openid), seq, seq, 'BYSCORE')[1]
if dedup then
  redis.call('HSET', message(openid, dedup), 'sent', sent)
  if unsent ~= '' then redis.call('HSET', message(openid, dedup), 'unsent', unsent) end
end
local key = conversation(openid)
local known = redis.call('HMGET', key, 'interacted_at', 'budget_until')
local facts = {'typing_until', '0', 'interacted_at', later_of(known[1], sent_at)}
add_budget(facts, known[2], left, budget_until)
redis.call('HSET', key, unpack(facts))
keep_state(key, state)
return 1
