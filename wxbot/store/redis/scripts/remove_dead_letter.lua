-- args: seq, retry_at (nil: delete the letter)
-- Returns 1, or 0 if there is no dead letter with that seq.
local name = redis.call('ZRANGE', prefix .. 'dead', args.seq, args.seq, 'BYSCORE')[1]
if not name then return 0 end
redis.call('ZREM', prefix .. 'dead', name)
local key = prefix .. 'm:' .. name
if not args.retry_at then
  redis.call('DEL', prefix .. 'a:' .. name)
  return redis.call('DEL', key)
end

local openid, dedup, received_at = unpack(redis.call('HMGET', key, 'openid', 'dedup', 'received_at'))
if not openid then return 0 end  -- it has expired
redis.call('HSET', key, 'attempts', 0)
redis.call('HDEL', key, 'reason', 'died_at', 'openid', 'dedup')
redis.call('PERSIST', key)
redis.call('ZADD', queue(openid), args.seq, dedup)
local stored = redis.call('HMGET', conversation(openid), 'owner', 'next_at', 'interacted_at')
local next_at = stored[2]
if not next_at or tonumber(next_at) > tonumber(args.retry_at) then next_at = args.retry_at end
redis.call('PERSIST', conversation(openid))
redis.call('HSET', conversation(openid), 'next_at', next_at, 'interacted_at', stored[3] or received_at)
if not stored[1] then redis.call('ZADD', prefix .. 'waiting', next_at, openid) end
return 1
