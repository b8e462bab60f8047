-- ARGV: openid, dedup key, fields, received_at, interacted_at, unsent ('' for none), owner ('' for no claim request),
--       lease_until, noted_until, budget (left, until) and handover (until, agent): '' leaves each of them as it is,
--       for agents (1 or 0), seen milliseconds, idle milliseconds, state milliseconds
-- Returns one of
--   {'seen', received_at of the first delivery, handed over until, agent}: a redelivery
--   {'for_agents', handed over until, agent}: human agents answer it
--   {'stored'}
--   {'granted', seq, fence, interacted_at, typing_until, state, quota and handover}: the claim request is granted
local openid, dedup, fields, received_at, interacted_at, unsent, owner, lease_until, noted_until, left, budget_until,
  handed_over_until, agent, for_agents, seen_ms, idle_ms, state_ms = unpack(ARGV)
local key, conversation_key = message(openid, dedup), conversation(openid)

-- Returns the handover (until, agent) if human agents answer this message, nil if the bot processes it.
local function handover_for(until_then, by_agent)
  if for_agents == '1' and until_then and tonumber(received_at) < tonumber(until_then) then
    return until_then, by_agent or ''
  end
end

local kind = redis.call('TYPE', key).ok
if kind ~= 'none' then
  local first_at = kind == 'hash' and redis.call('HGET', key, 'received_at')  -- a dedup record does not have it
  local until_then, by_agent = handover_for(unpack(redis.call('HMGET', conversation_key, 'handed_over_until', 'agent')))
  return {'seen', first_at or '0', until_then or '0', by_agent or ''}
end

local seq = redis.call('INCR', prefix .. 'seq')
if handed_over_until ~= '' then hand_over(openid, handed_over_until, agent) end
local stored = redis.call('HMGET', conversation_key, 'next_at', 'interacted_at', 'typing_until', 'state',
  'budget_left', 'budget_until', 'handed_over_until', 'agent')
local interacted = later_of(stored[2], interacted_at)
local values = {'interacted_at', interacted}
add_quota(values, nil, left, budget_until)
if left == '' then left, budget_until = stored[5], stored[6] end

local until_then, by_agent = handover_for(stored[7], stored[8])
if until_then then
  redis.call('SET', key, seq, 'PX', seen_ms)
  redis.call('HSET', conversation_key, unpack(values))
  if not stored[1] then expire_later(openid, received_at, idle_ms, state_ms) end
  return {'for_agents', until_then, by_agent}
end

local granted = owner ~= '' and not stored[1]
redis.call('HSET', key, 'fields', fields, 'received_at', received_at, 'attempts', granted and 1 or 0)
if unsent ~= '' then redis.call('HSET', key, 'unsent', unsent) end
redis.call('ZADD', queue(openid), seq, dedup)
if not stored[1] then
  redis.call('PERSIST', conversation_key)
end

if granted then
  local fence = redis.call('HINCRBY', conversation_key, 'fence', 1)
  redis.call('HSET', conversation_key, 'owner', owner, 'lease_until', lease_until, 'next_at', received_at,
    'typing_until', later_of(stored[3], noted_until), unpack(values))
  redis.call('ZADD', prefix .. 'leases', lease_until, openid)
  return {'granted', seq, fence, interacted, stored[3] or '0', stored[4] or '{}',
    {left, budget_until, stored[7], stored[8]}}
end

redis.call('HSET', conversation_key, unpack(values))
if not stored[1] then
  redis.call('HSET', conversation_key, 'next_at', received_at)
  redis.call('ZADD', prefix .. 'waiting', received_at, openid)
end
return {'stored'}
