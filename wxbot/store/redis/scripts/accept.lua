-- ARGV: openid, dedup key, fields, received_at, interacted_at, unsent ('' for none), owner ('' for no bid),
--       lease_until, noted_until, budget (left, until) and hand-over (until, agent): '' leaves each of them as it is,
--       for agents (1 or 0), seen milliseconds, idle milliseconds, state milliseconds
-- Returns one of
--   {'seen', when it was here first, handed over until, agent}
--   {'theirs', handed over until, agent}: the agents answer it
--   {'kept'}
--   {'granted', seq, fence, interacted_at, typing_until, state, terms}: with the bid
local openid, dedup, fields, received_at, interacted_at, unsent, owner, lease_until, noted_until, left, budget_until,
  handed_over_until, agent, for_agents, seen_ms, idle_ms, state_ms = unpack(ARGV)
local key, known_as = message(openid, dedup), conversation(openid)

-- Who answers what is for agents: they do until then, or nil for the bot.
local function theirs(until_then, by_whom)
  if for_agents == '1' and until_then and tonumber(received_at) < tonumber(until_then) then
    return until_then, by_whom or ''
  end
end

local kind = redis.call('TYPE', key).ok
if kind ~= 'none' then
  local first_at = kind == 'hash' and redis.call('HGET', key, 'received_at')  -- a trace does not know it
  local until_then, by_whom = theirs(unpack(redis.call('HMGET', known_as, 'handed_over_until', 'agent')))
  return {'seen', first_at or '0', until_then or '0', by_whom or ''}
end

local seq = redis.call('INCR', prefix .. 'seq')
if handed_over_until ~= '' then hand_over(openid, handed_over_until, agent) end
local known = redis.call('HMGET', known_as, 'next_at', 'interacted_at', 'typing_until', 'state',
  'budget_left', 'budget_until', 'handed_over_until', 'agent')
local interacted = later_of(known[2], interacted_at)
local facts = {'interacted_at', interacted}
add_budget(facts, nil, left, budget_until)
if left == '' then left, budget_until = known[5], known[6] end

local until_then, by_whom = theirs(known[7], known[8])
if until_then then
  redis.call('SET', key, seq, 'PX', seen_ms)
  redis.call('HSET', known_as, unpack(facts))
  if not known[1] then forget_later(openid, received_at, idle_ms, state_ms) end
  return {'theirs', until_then, by_whom}
end

local granted = owner ~= '' and not known[1]
redis.call('HSET', key, 'fields', fields, 'received_at', received_at, 'attempts', granted and 1 or 0)
if unsent ~= '' then redis.call('HSET', key, 'unsent', unsent) end
redis.call('ZADD', queue(openid), seq, dedup)
if not known[1] then
  redis.call('PERSIST', known_as)
end

if granted then
  local fence = redis.call('HINCRBY', known_as, 'fence', 1)
  redis.call('HSET', known_as, 'owner', owner, 'lease_until', lease_until, 'next_at', received_at,
    'typing_until', later_of(known[3], noted_until), unpack(facts))
  redis.call('ZADD', prefix .. 'leases', lease_until, openid)
  return {'granted', seq, fence, interacted, known[3] or '0', known[4] or '{}',
    {left, budget_until, known[7], known[8]}}
end

redis.call('HSET', known_as, unpack(facts))
if not known[1] then
  redis.call('HSET', known_as, 'next_at', received_at)
  redis.call('ZADD', prefix .. 'waiting', received_at, openid)
end
return {'kept'}
