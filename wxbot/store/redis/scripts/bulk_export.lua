-- ARGV: keys of conversations and messages, without what all keys begin with
-- Returns what they hold, the kind first; '' is what a hash does not have, and -1 milliseconds is no end:
--   {'conversation', openid, interacted_at, typing_until, state, next_at, budget_left, budget_until, handed_over_until,
--    agent, milliseconds}
--   {'message', openid, dedup key, seq, fields, received_at, attempts, sent, unsent, died_at, reason, milliseconds}
--   {'trace', openid, dedup key, seq, milliseconds}

-- OPENID:DEDUP in its two parts. An openid with a colon in it is nothing WeChat has, but nothing forbids it either: of
-- several that fit, the longest is the user's, because its front part may be another user's name.
local function parts_of(place, fits)
  local at = place:find(':', 1, true)
  local openid, dedup = place:sub(1, at - 1), place:sub(at + 1)
  while at do
    if fits(place:sub(1, at - 1), place:sub(at + 1)) then openid, dedup = place:sub(1, at - 1), place:sub(at + 1) end
    at = place:find(':', at + 1, true)
  end
  return openid, dedup
end

local function has_conversation(openid) return redis.call('EXISTS', conversation(openid)) == 1 end
local function waits(openid, dedup) return redis.call('ZSCORE', queue(openid), dedup) end

local function values(key, ...)
  local kept = redis.call('HMGET', key, ...)
  for i = 1, #kept do kept[i] = kept[i] or '' end
  return unpack(kept)
end

local function read_message(key, place)
  local died_at = redis.call('HGET', key, 'died_at')
  local openid, dedup, seq
  if died_at then
    openid, dedup = values(key, 'openid', 'dedup')
    seq = redis.call('ZSCORE', prefix .. 'dead', place)
  else
    openid, dedup = parts_of(place, waits)
    seq = waits(openid, dedup)
  end
  if not seq then return nil end  -- nothing leads to it, so no bot would find it either
  local fields, received_at, attempts, sent, unsent, reason =
    values(key, 'fields', 'received_at', 'attempts', 'sent', 'unsent', 'reason')
  return {'message', openid, dedup, seq, fields, received_at, attempts, sent, unsent, died_at or '', reason,
    redis.call('PTTL', key)}
end

local function read(name)
  local key, place = prefix .. name, name:sub(3)
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then
    local openid, dedup = parts_of(place, has_conversation)
    return {'trace', openid, dedup, redis.call('GET', key), redis.call('PTTL', key)}
  elseif kind == 'hash' and name:sub(1, 2) == 'c:' then
    local kept = {'conversation', place, values(key, 'interacted_at', 'typing_until', 'state', 'next_at',
      'budget_left', 'budget_until', 'handed_over_until', 'agent')}
    kept[#kept + 1] = redis.call('PTTL', key)
    return kept
  elseif kind == 'hash' then
    return read_message(key, place)
  end
end

local found = {}
for _, name in ipairs(ARGV) do
  found[#found + 1] = read(name)
end
return found
