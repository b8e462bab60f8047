-- args: copy (its name), records: for each its kind, its milliseconds (nil: no expiry) and its values
-- Returns for each record 1 if it is new, else 0.
if redis.call('GET', prefix .. 'copying') ~= args.copy then return LOST end

local write = {}

function write.conversation(key, record)
  redis.call('HSET', key, 'interacted_at', record.interacted_at, 'typing_until', record.typing_until)
  if record.state ~= '{}' then redis.call('HSET', key, 'state', record.state) end
  if record.budget_until then
    redis.call('HSET', key, 'budget_left', record.budget_left, 'budget_until', record.budget_until)
  end
  if record.handed_over_until then hand_over(record.openid, record.handed_over_until, record.agent) end
  if record.next_at then
    redis.call('HSET', key, 'next_at', record.next_at)
    redis.call('ZADD', prefix .. 'waiting', record.next_at, record.openid)
  end
end

function write.message(key, record)
  redis.call('HSET', key, 'fields', record.fields, 'received_at', record.received_at, 'attempts', record.attempts,
    'sent', record.sent, 'unsent', record.unsent)
  if record.died_at then
    redis.call('HSET', key, 'died_at', record.died_at, 'reason', record.reason, 'openid', record.openid,
      'dedup', record.dedup)
    redis.call('ZADD', prefix .. 'dead', record.seq, record.openid .. ':' .. record.dedup)
  else
    redis.call('ZADD', queue(record.openid), record.seq, record.dedup)
  end
end

function write.dedup(key, record)
  redis.call('SET', key, record.seq)
end

local all_new = {}
for i, record in ipairs(args.records) do
  local key = record.dedup and message(record.openid, record.dedup) or conversation(record.openid)
  all_new[i] = 1 - redis.call('EXISTS', key)
  write[record.kind](key, record)
  if record.milliseconds then redis.call('PEXPIRE', key, record.milliseconds) end
end
return all_new
