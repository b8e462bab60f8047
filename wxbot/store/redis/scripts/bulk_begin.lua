-- ARGV: name of the copy, name of the half copy that was seen ('' for none), last number that was seen ('' for none),
--       last number that the copy will bring
-- Returns 1, or 0 if the account is not any more as it was seen.
local copy, seen_copy, seen_seq, last_seq = unpack(ARGV)
if (redis.call('GET', prefix .. 'copying') or '') ~= seen_copy then return 0 end
local seq = redis.call('GET', prefix .. 'seq') or ''
if seen_copy == '' and seq ~= seen_seq then return 0 end
redis.call('SET', prefix .. 'copying', copy)
-- It changes in any case, so that whoever has looked before us sees that.
redis.call('SET', prefix .. 'seq', string.format('%.0f', math.max(tonumber(seq) or 0, tonumber(last_seq)) + 1))
return 1
