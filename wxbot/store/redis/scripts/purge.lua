-- args: died_before, limit, now
-- Returns how many dead letters were deleted. Redis expires all other records by itself.
local deleted = 0
for _, name in ipairs(redis.call('ZRANGE', prefix .. 'dead', 0, args.limit - 1)) do
  local died_at = redis.call('HGET', prefix .. 'm:' .. name, 'died_at')
  if not died_at or tonumber(died_at) < tonumber(args.died_before) then
    redis.call('DEL', prefix .. 'm:' .. name, prefix .. 'a:' .. name)
    redis.call('ZREM', prefix .. 'dead', name)
    deleted = deleted + 1
  end
end
redis.call('ZREMRANGEBYSCORE', prefix .. 'agents', '-inf', args.now)
return deleted
