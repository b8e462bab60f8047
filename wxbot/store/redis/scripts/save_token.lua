-- ARGV: value ('' if the fetch failed), expires_at, milliseconds until the key expires
local key = prefix .. 'token'
redis.call('HDEL', key, 'fetching_until')
if ARGV[1] ~= '' then
  redis.call('HSET', key, 'value', ARGV[1], 'expires_at', ARGV[2])
  redis.call('PEXPIRE', key, ARGV[3])
end
return 1
