-- ARGV: now, limit, due before (for conversations without an owner)
-- Returns {openid, next_at, …}: conversations with due messages and no active lease, in no order.
local due = redis.call('ZRANGE', prefix .. 'waiting', '-inf', ARGV[3], 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
local orphaned = redis.call('ZRANGE', prefix .. 'leases', '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, openid in ipairs(orphaned) do
  local next_at = redis.call('HGET', conversation(openid), 'next_at')
  if next_at and tonumber(next_at) <= tonumber(ARGV[1]) then
    due[#due + 1] = openid
    due[#due + 1] = next_at
  end
end
return due
