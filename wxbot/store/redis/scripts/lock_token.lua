-- args: outdated (nil for none), now, fetching_until, keep_ms
-- Returns 1 if the caller may fetch a token, else 0.
local key = prefix .. 'token'
local stored = redis.call('HMGET', key, 'value', 'expires_at', 'fetching_until')
local replaced = stored[1] and args.outdated and stored[1] ~= args.outdated
  and tonumber(stored[2]) > tonumber(args.now)
if replaced or (stored[3] and tonumber(stored[3]) > tonumber(args.now)) then return 0 end
redis.call('HSET', key, 'fetching_until', args.fetching_until)
redis.call('PEXPIRE', key, args.keep_ms)
return 1
