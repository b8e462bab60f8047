-- args: openid, owner, now, lease_until, dedup_ms, state_ms
-- Returns nothing, or {fence, record and state, the next message}.
local openid, now = args.openid, args.now
local key = conversation(openid)
local stored = redis.call('HMGET', key, 'owner', 'lease_until', 'next_at')

if not stored[3] or tonumber(stored[3]) > tonumber(now) + CLOCKS_AGREE then return nil end
if stored[1] and tonumber(stored[2]) > tonumber(now) then return nil end
local pending = next_pending(openid)
if not pending then  -- next_at was wrong: repair it and claim nothing
  set_idle(openid, now)
  return nil
end
local fence = redis.call('HINCRBY', key, 'fence', 1)
redis.call('HSET', key, 'owner', args.owner, 'lease_until', args.lease_until)
redis.call('ZREM', prefix .. 'waiting', openid)
redis.call('ZADD', prefix .. 'leases', args.lease_until, openid)
return {fence, record_of(openid, 'state'), pending}
