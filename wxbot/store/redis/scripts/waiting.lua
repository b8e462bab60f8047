-- args: now, limit, due_before (for conversations without an owner)
-- Returns {openid, next_at, …}: conversations with due messages and no active lease, in no order.
local due = redis.call('ZRANGE', prefix .. 'waiting', '-inf', args.due_before, 'BYSCORE', 'LIMIT', 0, args.limit,
  'WITHSCORES')
local orphaned = redis.call('ZRANGE', prefix .. 'leases', '-inf', args.now, 'BYSCORE', 'LIMIT', 0, args.limit)
for _, openid in ipairs(orphaned) do
  local next_at = redis.call('HGET', conversation(openid), 'next_at')
  if next_at and tonumber(next_at) <= tonumber(args.now) then
    due[#due + 1] = openid
    due[#due + 1] = next_at
  end
end
return due
