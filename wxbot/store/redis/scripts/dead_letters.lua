-- args: limit
-- Returns {{seq, openid, fields, received_at, died_at, attempts, sent, reason, unsent}, …}, the oldest first.
local letters = {}
local dead = redis.call('ZRANGE', prefix .. 'dead', 0, args.limit - 1, 'WITHSCORES')
for i = 1, #dead, 2 do
  local stored = redis.call('HMGET', prefix .. 'm:' .. dead[i],
    'openid', 'fields', 'received_at', 'died_at', 'attempts', 'sent', 'reason', 'unsent')
  if stored[1] then letters[#letters + 1] = {dead[i + 1], unpack(stored)} end
end
return letters
