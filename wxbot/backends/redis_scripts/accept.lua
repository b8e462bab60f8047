-- ARGV: openid, dedup key, fields, received_at, interacted_at, owner ('' for no bid), lease_until, noted_until
-- Returns {} for a push that was here before, {seq}, or with the bid granted {seq, fence, interacted_at, typing_until, state}.
local openid, dedup, fields, received_at, interacted_at, owner, lease_until, noted_until = unpack(ARGV)
local key, known_as = message(openid, dedup), conversation(openid)

if redis.call('EXISTS', key) == 1 then return {} end
local seq = redis.call('INCR', prefix .. 'seq')
local known = redis.call('HMGET', known_as, 'next_at', 'interacted_at', 'typing_until', 'state')
local granted = owner ~= '' and not known[1]
redis.call('HSET', key, 'fields', fields, 'received_at', received_at, 'attempts', granted and 1 or 0)
redis.call('ZADD', queue(openid), seq, dedup)
local interacted = later_of(known[2], interacted_at)
if not known[1] then
  redis.call('PERSIST', known_as)
end

if granted then
  local fence = redis.call('HINCRBY', known_as, 'fence', 1)
  redis.call('HSET', known_as, 'owner', owner, 'lease_until', lease_until, 'next_at', received_at,
    'interacted_at', interacted, 'typing_until', later_of(known[3], noted_until))
  redis.call('ZADD', prefix .. 'leases', lease_until, openid)
  return {seq, fence, interacted, known[3] or '0', known[4] or '{}'}
end

redis.call('HSET', known_as, 'interacted_at', interacted)
if not known[1] then
  redis.call('HSET', known_as, 'next_at', received_at)
  redis.call('ZADD', prefix .. 'waiting', received_at, openid)
end
return {seq}
