-- ARGV: seq, now
-- Returns 1, or 0 if there is no dead letter with that seq.
local name = redis.call('ZRANGE', prefix .. 'dead', ARGV[1], ARGV[1], 'BYSCORE')[1]
if not name then return 0 end
redis.call('ZREM', prefix .. 'dead', name)
local key = prefix .. 'm:' .. name
local letter = redis.call('HMGET', key, 'openid', 'dedup', 'received_at')
local openid, dedup, received_at = letter[1], letter[2], letter[3]
if not openid then return 0 end  -- it has expired

redis.call('HSET', key, 'attempts', 0)
redis.call('HDEL', key, 'reason', 'died_at', 'openid', 'dedup')
redis.call('PERSIST', key)
redis.call('ZADD', queue(openid), ARGV[1], dedup)
local stored = redis.call('HMGET', conversation(openid), 'owner', 'next_at', 'interacted_at')
local next_at = stored[2]
if not next_at or tonumber(next_at) > tonumber(ARGV[2]) then next_at = ARGV[2] end
redis.call('PERSIST', conversation(openid))
redis.call('HSET', conversation(openid), 'next_at', next_at, 'interacted_at', stored[3] or received_at)
if not stored[1] then redis.call('ZADD', prefix .. 'waiting', next_at, openid) end
return 1
