-- ARGV: openid, owner, fence, seq, status, now, go_on (1 or 0), typing_until, sent, sent_at, unsent, reason, retry_at,
--       state, budget (left, until), handover (until, agent): '' leaves each of them as it is,
--       seen milliseconds, dead letter milliseconds, idle milliseconds, state milliseconds
-- Returns the next message if the owner keeps the lease, else nothing.
local openid, owner, fence, seq, status, now, go_on, typing_until, sent, sent_at, unsent, reason, retry_at, state,
  left, budget_until, handed_over_until, agent, seen_ms, dead_ms, idle_ms, state_ms = unpack(ARGV)
if not is_held(openid, owner, fence) then return LOST end

local function close(dedup)
  local key = message(openid, dedup)
  if status == 'done' then
    -- A dedup record stays for a while, so that a redelivery is recognized. The user's text is deleted.
    redis.call('ZREM', queue(openid), dedup)
    redis.call('SET', key, seq, 'PX', seen_ms)
    return
  end
  redis.call('HSET', key, 'sent', sent, 'unsent', unsent, 'reason', reason)
  if status == 'dead' then
    redis.call('ZREM', queue(openid), dedup)
    redis.call('HSET', key, 'died_at', now, 'openid', openid, 'dedup', dedup)
    redis.call('PEXPIRE', key, dead_ms)
    redis.call('ZADD', prefix .. 'dead', seq, openid .. ':' .. dedup)
  elseif status == 'released' then
    redis.call('HINCRBY', key, 'attempts', -1)
  end
end

local dedup = redis.call('ZRANGE', queue(openid), seq, seq, 'BYSCORE')[1]
if dedup then close(dedup) end  -- if missing, this is a repeated call whose first response was lost

local key = conversation(openid)
local stored = redis.call('HMGET', key, 'interacted_at', 'budget_until')
local values = {'typing_until', typing_until, 'interacted_at', later_of(stored[1], sent_at)}
add_quota(values, stored[2], left, budget_until)
redis.call('HSET', key, unpack(values))
if handed_over_until ~= '' then hand_over(openid, handed_over_until, agent) end
write_state(key, state)

if go_on == '1' and (status == 'done' or status == 'dead') then
  local pending = next_pending(openid)
  if pending then return pending end
end
if status == 'retry' then
  release(openid, retry_at)
elseif redis.call('EXISTS', queue(openid)) == 1 then
  release(openid, now)
else
  set_idle(openid, now, idle_ms, state_ms)
end
return nil
