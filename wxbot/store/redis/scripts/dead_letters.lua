-- ARGV: limit
-- Returns {{seq, openid, fields, received_at, died_at, attempts, sent, reason, unsent}, …}, the oldest first.
local letters = {}
local places = redis.call('ZRANGE', prefix .. 'dead', 0, ARGV[1] - 1, 'WITHSCORES')
for i = 1, #places, 2 do
  local kept = redis.call('HMGET', prefix .. 'm:' .. places[i],
    'openid', 'fields', 'received_at', 'died_at', 'attempts', 'sent', 'reason', 'unsent')
  if kept[1] then letters[#letters + 1] = {places[i + 1], unpack(kept)} end
end
return letters
