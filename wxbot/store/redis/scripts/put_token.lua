-- args: value (nil if the fetch failed), expires_at, keep_ms
local key = prefix .. 'token'
redis.call('HDEL', key, 'fetching_until')
if args.value then
  redis.call('HSET', key, 'value', args.value, 'expires_at', args.expires_at)
  redis.call('PEXPIRE', key, args.keep_ms)
end
return 1
