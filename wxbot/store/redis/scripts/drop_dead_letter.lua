-- ARGV: seq
-- Returns 1, or 0 if there is no dead letter with that seq.
local name = redis.call('ZRANGE', prefix .. 'dead', ARGV[1], ARGV[1], 'BYSCORE')[1]
if not name then return 0 end
redis.call('ZREM', prefix .. 'dead', name)
redis.call('DEL', prefix .. 'a:' .. name)
return redis.call('DEL', prefix .. 'm:' .. name)
