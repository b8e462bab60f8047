-- ARGV: openid, owner, now, lease_until, idle milliseconds, state milliseconds
-- Returns nothing, or {fence, interacted_at, typing_until, state, the next message}.
local openid, owner, now, lease_until = unpack(ARGV)
local key = conversation(openid)
local known = redis.call('HMGET', key, 'owner', 'lease_until', 'next_at', 'interacted_at', 'typing_until', 'state')

if not known[3] or tonumber(known[3]) > tonumber(now) + CLOCKS_AGREE then return nil end
if known[1] and tonumber(known[2]) > tonumber(now) then return nil end
local pending = next_pending(openid)
if not pending then  -- next_at promised one: mend it rather than hold an empty conversation
  rest(openid, now, ARGV[5], ARGV[6])
  return nil
end
local fence = redis.call('HINCRBY', key, 'fence', 1)
redis.call('HSET', key, 'owner', owner, 'lease_until', lease_until)
redis.call('ZREM', prefix .. 'waiting', openid)
redis.call('ZADD', prefix .. 'leases', lease_until, openid)
return {fence, known[4], known[5] or '0', known[6] or '{}', pending}
