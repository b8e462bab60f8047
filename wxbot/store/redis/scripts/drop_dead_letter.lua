-- ARGV: seq
-- Returns 1, or 0 if there is no dead letter with that number.
local place = redis.call('ZRANGE', prefix .. 'dead', ARGV[1], ARGV[1], 'BYSCORE')[1]
if not place then return 0 end
redis.call('ZREM', prefix .. 'dead', place)
redis.call('DEL', prefix .. 'a:' .. place)
return redis.call('DEL', prefix .. 'm:' .. place)
