-- ARGV: openid, owner, now, lease_until, idle milliseconds, state milliseconds
-- Returns nothing, or {fence, interacted_at, typing_until, state, the next message}.
local openid, owner, now, lease_until = unpack(ARGV)
local key = conversation(openid)
local stored = redis.call('HMGET', key, 'owner', 'lease_until', 'next_at', 'interacted_at', 'typing_until', 'state')

if not stored[3] or tonumber(stored[3]) > tonumber(now) + CLOCKS_AGREE then return nil end
if stored[1] and tonumber(stored[2]) > tonumber(now) then return nil end
local pending = next_pending(openid)
if not pending then  -- next_at was wrong: repair it and claim nothing
  set_idle(openid, now, ARGV[5], ARGV[6])
  return nil
end
local fence = redis.call('HINCRBY', key, 'fence', 1)
redis.call('HSET', key, 'owner', owner, 'lease_until', lease_until)
redis.call('ZREM', prefix .. 'waiting', openid)
redis.call('ZADD', prefix .. 'leases', lease_until, openid)
return {fence, stored[4], stored[5] or '0', stored[6] or '{}', pending}
