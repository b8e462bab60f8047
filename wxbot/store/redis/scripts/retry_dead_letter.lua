-- ARGV: seq, now
-- Returns 1, or 0 if there is no dead letter with that number.
local place = redis.call('ZRANGE', prefix .. 'dead', ARGV[1], ARGV[1], 'BYSCORE')[1]
if not place then return 0 end
redis.call('ZREM', prefix .. 'dead', place)
local key = prefix .. 'm:' .. place
local kept = redis.call('HMGET', key, 'openid', 'dedup', 'received_at')
local openid, dedup, received_at = kept[1], kept[2], kept[3]
if not openid then return 0 end  -- it has expired

redis.call('HSET', key, 'attempts', 0)
redis.call('HDEL', key, 'reason', 'died_at', 'openid', 'dedup')
redis.call('PERSIST', key)
redis.call('ZADD', queue(openid), ARGV[1], dedup)
local known = redis.call('HMGET', conversation(openid), 'owner', 'next_at', 'interacted_at')
local next_at = known[2]
if not next_at or tonumber(next_at) > tonumber(ARGV[2]) then next_at = ARGV[2] end
redis.call('PERSIST', conversation(openid))
redis.call('HSET', conversation(openid), 'next_at', next_at, 'interacted_at', known[3] or received_at)
if not known[1] then redis.call('ZADD', prefix .. 'waiting', next_at, openid) end
return 1
