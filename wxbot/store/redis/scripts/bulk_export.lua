-- args: names: keys of conversations and messages, without their common prefix
-- Returns their values, the kind first; '' is a missing field of a hash, and -1 milliseconds means no expiry:
--   {'conversation', openid, next_at, record and state, milliseconds}
--   {'message', openid, dedup key, seq, fields, received_at, attempts, sent, unsent, died_at, reason, milliseconds}
--   {'dedup', openid, dedup key, seq, milliseconds}

-- Splits OPENID:DEDUP. WeChat's openids contain no colon, but nothing forbids one. If several splits fit, the longest
-- openid is right, because its front part may be another user's openid.
local function parts_of(id, fits)
  local at = id:find(':', 1, true)
  local openid, dedup = id:sub(1, at - 1), id:sub(at + 1)
  while at do
    if fits(id:sub(1, at - 1), id:sub(at + 1)) then openid, dedup = id:sub(1, at - 1), id:sub(at + 1) end
    at = id:find(':', at + 1, true)
  end
  return openid, dedup
end

local function has_conversation(openid) return redis.call('EXISTS', conversation(openid)) == 1 end
local function pending_seq(openid, dedup) return redis.call('ZSCORE', queue(openid), dedup) end

local function values(key, ...)
  local stored = redis.call('HMGET', key, ...)
  for i = 1, #stored do stored[i] = stored[i] or '' end
  return unpack(stored)
end

local function read_message(key, id)
  local died_at = redis.call('HGET', key, 'died_at')
  local openid, dedup, seq
  if died_at then
    openid, dedup = values(key, 'openid', 'dedup')
    seq = redis.call('ZSCORE', prefix .. 'dead', id)
  else
    openid, dedup = parts_of(id, pending_seq)
    seq = pending_seq(openid, dedup)
  end
  if not seq then return nil end  -- it is in no queue, so no bot would find it either
  local fields, received_at, attempts, sent, unsent, reason =
    values(key, 'fields', 'received_at', 'attempts', 'sent', 'unsent', 'reason')
  return {'message', openid, dedup, seq, fields, received_at, attempts, sent, unsent, died_at or '', reason,
    redis.call('PTTL', key)}
end

local function read(name)
  local key, id = prefix .. name, name:sub(3)
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then
    local openid, dedup = parts_of(id, has_conversation)
    return {'dedup', openid, dedup, redis.call('GET', key), redis.call('PTTL', key)}
  elseif kind == 'hash' and name:sub(1, 2) == 'c:' then
    return {'conversation', id, redis.call('HGET', key, 'next_at') or '', record_of(id, 'state'), redis.call('PTTL', key)}
  elseif kind == 'hash' then
    return read_message(key, id)
  end
end

local found = {}
for _, name in ipairs(args.names) do
  found[#found + 1] = read(name)
end
return found
