-- ARGV: name of the copy, then the values of all records, in the form that bulk_export.lua returns
-- Returns for each record 1 if it is new, else 0.
if redis.call('GET', prefix .. 'copying') ~= ARGV[1] then return LOST end

local function expire_after(key, milliseconds)
  if milliseconds ~= '-1' then redis.call('PEXPIRE', key, milliseconds) end
end

local write = {}

function write.conversation(at)
  local openid, interacted_at, typing_until, state, next_at, left, budget_until, handed_over_until, agent,
    milliseconds = unpack(ARGV, at, at + 9)
  local key = conversation(openid)
  local new = 1 - redis.call('EXISTS', key)
  redis.call('HSET', key, 'interacted_at', interacted_at, 'typing_until', typing_until)
  if state ~= '{}' then redis.call('HSET', key, 'state', state) end
  if left ~= '' then redis.call('HSET', key, 'budget_left', left, 'budget_until', budget_until) end
  if handed_over_until ~= '' then hand_over(openid, handed_over_until, agent) end
  if next_at ~= '' then
    redis.call('HSET', key, 'next_at', next_at)
    redis.call('ZADD', prefix .. 'waiting', next_at, openid)
  end
  expire_after(key, milliseconds)
  return new, at + 10
end

function write.message(at)
  local openid, dedup, seq, fields, received_at, attempts, sent, unsent, died_at, reason, milliseconds =
    unpack(ARGV, at, at + 10)
  local key = message(openid, dedup)
  local new = 1 - redis.call('EXISTS', key)
  redis.call('HSET', key, 'fields', fields, 'received_at', received_at, 'attempts', attempts, 'sent', sent,
    'unsent', unsent)
  if died_at == '' then
    redis.call('ZADD', queue(openid), seq, dedup)
  else
    redis.call('HSET', key, 'died_at', died_at, 'reason', reason, 'openid', openid, 'dedup', dedup)
    redis.call('ZADD', prefix .. 'dead', seq, openid .. ':' .. dedup)
  end
  expire_after(key, milliseconds)
  return new, at + 11
end

function write.dedup(at)
  local openid, dedup, seq, milliseconds = unpack(ARGV, at, at + 3)
  local key = message(openid, dedup)
  local new = 1 - redis.call('EXISTS', key)
  redis.call('SET', key, seq, 'PX', milliseconds)
  return new, at + 4
end

local all_new, at = {}, 2
while at <= #ARGV do
  all_new[#all_new + 1], at = write[ARGV[at]](at + 1)
end
return all_new
