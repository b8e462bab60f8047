-- args: openid, dedup, fields, received_at, unsent (nil for none), change, for_agents ('1' or nil), owner (nil for no
--       claim request), lease_until, noted_until, dedup_ms, state_ms
-- Returns one of
--   {'redelivered', received_at of the first delivery, handed over until, agent}: a redelivery
--   {'for_agents', handed over until, agent}: human agents reply to it
--   {'stored'}
--   {'granted', seq, fence, record and state}: the claim request is granted; the record is without noted_until
local openid, change, received_at = args.openid, args.change, args.received_at
local key, conversation_key = message(openid, args.dedup), conversation(openid)

-- Returns the handover (until, agent) if human agents reply to this message, nil if the bot processes it.
local function handover_for(until_then, by_agent)
  if args.for_agents and until_then and tonumber(received_at) < tonumber(until_then) then
    return until_then, by_agent or ''
  end
end

local kind = redis.call('TYPE', key).ok
if kind ~= 'none' then
  local first_at = kind == 'hash' and redis.call('HGET', key, 'received_at')  -- a dedup record does not have it
  local until_then, by_agent = handover_for(unpack(redis.call('HMGET', conversation_key, 'handed_over_until', 'agent')))
  return {'redelivered', first_at or '0', until_then or '0', by_agent or ''}
end

local seq = redis.call('INCR', prefix .. 'seq')
if change.handed_over_until then hand_over(openid, change.handed_over_until, change.agent) end
local record = record_of(openid, 'state', 'next_at')
local next_at = record[8]
record[1] = later_of(record[1], change.interacted_at)
local values = {'interacted_at', record[1]}
if change.budget_until then
  record[3], record[4] = change.budget_left, change.budget_until
  values = {'interacted_at', record[1], 'budget_left', record[3], 'budget_until', record[4]}
end

local until_then, by_agent = handover_for(record[5], record[6])
if until_then then
  redis.call('SET', key, seq, 'PX', args.dedup_ms)
  redis.call('HSET', conversation_key, unpack(values))
  if not next_at then expire_later(openid, received_at) end
  return {'for_agents', until_then, by_agent}
end

local granted = args.owner and not next_at
redis.call('HSET', key, 'fields', args.fields, 'received_at', received_at, 'attempts', granted and 1 or 0)
if args.unsent then redis.call('HSET', key, 'unsent', args.unsent) end
redis.call('ZADD', queue(openid), seq, args.dedup)
if not next_at then redis.call('PERSIST', conversation_key) end

if granted then
  local fence = redis.call('HINCRBY', conversation_key, 'fence', 1)
  redis.call('HSET', conversation_key, 'owner', args.owner, 'lease_until', args.lease_until, 'next_at', received_at,
    'typing_until', later_of(record[2], args.noted_until), unpack(values))
  redis.call('ZADD', prefix .. 'leases', args.lease_until, openid)
  return {'granted', seq, fence, {unpack(record, 1, 7)}}
end

redis.call('HSET', conversation_key, unpack(values))
if not next_at then
  redis.call('HSET', conversation_key, 'next_at', received_at)
  redis.call('ZADD', prefix .. 'waiting', received_at, openid)
end
return {'stored'}
