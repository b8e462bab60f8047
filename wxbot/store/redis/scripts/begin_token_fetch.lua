-- ARGV: refused token ('' for none), now, fetching_until, milliseconds to keep all this
local refused, now, fetching_until, keep_ms = unpack(ARGV)
local key = prefix .. 'token'
local known = redis.call('HMGET', key, 'value', 'expires_at', 'fetching_until')
local replaced = known[1] and refused ~= '' and known[1] ~= refused and tonumber(known[2]) > tonumber(now)
if replaced or (known[3] and tonumber(known[3]) > tonumber(now)) then return 0 end
redis.call('HSET', key, 'fetching_until', fetching_until)
redis.call('PEXPIRE', key, keep_ms)
return 1
