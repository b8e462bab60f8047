-- args: copy (its name), found_copy (the incomplete copy that the caller found; nil for none), found_seq (the last seq
--       that the caller found; nil for none), last_seq (of the source)
-- Returns 1, or 0 if the account has changed since.
local found_copy, seq = redis.call('GET', prefix .. 'copying') or nil, redis.call('GET', prefix .. 'seq') or nil
if found_copy ~= args.found_copy then return 0 end
if not found_copy and seq ~= args.found_seq then return 0 end
redis.call('SET', prefix .. 'copying', args.copy)
-- It always changes, so that another caller that read it before fails.
redis.call('SET', prefix .. 'seq', string.format('%.0f', math.max(tonumber(seq) or 0, tonumber(args.last_seq)) + 1))
return 1
