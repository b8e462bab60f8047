-- args: openid, owner, fence, seq, status, now, go_on ('1' or nil), change, sent, unsent, reason, retry_at,
--       dedup_ms, dead_ms, state_ms
-- Returns {record and state, the next message} if the owner keeps the lease, else nothing.
if not is_held() then return LOST end
local openid, status, now = args.openid, args.status, args.now

local function close(dedup)
  local key = message(openid, dedup)
  if status == 'done' then
    -- A dedup record stays for a while, so that a redelivery is recognized. The user's text is deleted.
    redis.call('ZREM', queue(openid), dedup)
    redis.call('SET', key, args.seq, 'PX', args.dedup_ms)
    return
  end
  redis.call('HSET', key, 'sent', args.sent, 'unsent', args.unsent, 'reason', args.reason)
  if status == 'dead' then
    redis.call('ZREM', queue(openid), dedup)
    redis.call('HSET', key, 'died_at', now, 'openid', openid, 'dedup', dedup)
    redis.call('PEXPIRE', key, args.dead_ms)
    redis.call('ZADD', prefix .. 'dead', args.seq, openid .. ':' .. dedup)
  elseif status == 'released' then
    redis.call('HINCRBY', key, 'attempts', -1)
  end
end

local dedup = dedup_of_seq()
if dedup then close(dedup) end  -- if missing, this is a repeated call whose first response was lost
change_by_owner()

if args.go_on and (status == 'done' or status == 'dead') then
  local pending = next_pending(openid)
  if pending then return {record_of(openid, 'state'), pending} end
end
if status == 'retry' then
  release(openid, args.retry_at)
elseif redis.call('EXISTS', queue(openid)) == 1 then
  release(openid, now)
else
  set_idle(openid, now)
end
return nil
