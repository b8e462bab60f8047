-- ARGV: name of the copy, name of the incomplete copy that the caller found ('' for none),
--       last seq that the caller found ('' for none), last seq of the source
-- Returns 1, or 0 if the account has changed since.
local copy, found_copy, found_seq, last_seq = unpack(ARGV)
if (redis.call('GET', prefix .. 'copying') or '') ~= found_copy then return 0 end
local seq = redis.call('GET', prefix .. 'seq') or ''
if found_copy == '' and seq ~= found_seq then return 0 end
redis.call('SET', prefix .. 'copying', copy)
-- It always changes, so that another caller that read it before fails.
redis.call('SET', prefix .. 'seq', string.format('%.0f', math.max(tonumber(seq) or 0, tonumber(last_seq)) + 1))
return 1
