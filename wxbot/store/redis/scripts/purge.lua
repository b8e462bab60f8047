-- ARGV: died_before, limit, now
-- Returns how many dead letters were forgotten. All else expires by itself.
local gone = 0
for _, place in ipairs(redis.call('ZRANGE', prefix .. 'dead', 0, ARGV[2] - 1)) do
  local died_at = redis.call('HGET', prefix .. 'm:' .. place, 'died_at')
  if not died_at or tonumber(died_at) < tonumber(ARGV[1]) then
    redis.call('DEL', prefix .. 'm:' .. place, prefix .. 'a:' .. place)
    redis.call('ZREM', prefix .. 'dead', place)
    gone = gone + 1
  end
end
redis.call('ZREMRANGEBYSCORE', prefix .. 'agents', '-inf', ARGV[3])
return gone
