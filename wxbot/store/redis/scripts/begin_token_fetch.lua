-- ARGV: refused token ('' for none), now, fetching_until, milliseconds until the key expires
local refused, now, fetching_until, keep_ms = unpack(ARGV)
local key = prefix .. 'token'
local stored = redis.call('HMGET', key, 'value', 'expires_at', 'fetching_until')
local replaced = stored[1] and refused ~= '' and stored[1] ~= refused and tonumber(stored[2]) > tonumber(now)
if replaced or (stored[3] and tonumber(stored[3]) > tonumber(now)) then return 0 end
redis.call('HSET', key, 'fetching_until', fetching_until)
redis.call('PEXPIRE', key, keep_ms)
return 1
