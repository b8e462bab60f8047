-- The functions that the scripts share. This text is put in front of each script.
--
-- Keys of an account (the braces put all of them into one slot of a cluster):
--   wxbot:{appid}:seq            the last number given to a message
--   wxbot:{appid}:c:OPENID       hash: a conversation: owner, fence, lease_until, next_at (only if a message is pending),
--                                interacted_at, typing_until, state, budget_left and budget_until (only if known),
--                                handed_over_until and agent (only during a handover)
--   wxbot:{appid}:q:OPENID       sorted set: the conversation's pending messages, dedup key by seq
--   wxbot:{appid}:m:OPENID:DEDUP hash: a message; once it is done, a string with its seq, as the dedup record
--   wxbot:{appid}:a:OPENID:DEDUP string: the message's passive reply, as JSON; it is read after the message is done
--   wxbot:{appid}:waiting        sorted set: conversations with pending messages and no owner, openid by next_at
--   wxbot:{appid}:leases         sorted set: conversations with an owner, openid by lease_until
--   wxbot:{appid}:agents         sorted set: conversations with a handover, openid by handed_over_until; only an index,
--                                the conversation is the source of truth
--   wxbot:{appid}:dead           sorted set: dead letters, OPENID:DEDUP by seq
--   wxbot:{appid}:token          hash: the access token
--   wxbot:{appid}:media:DIGEST   string: uploaded media, as JSON
--   wxbot:{appid}:copying        string: the name of the copy that fills the account; bots refuse the account meanwhile
-- Times are seconds since 1970 by the caller's clock, which follows this server's (wxbot.clock.SharedClock).

local prefix = KEYS[1]
-- The clocks of two machines differ by some milliseconds. Without this tolerance a wake-up could come before its
-- message is due.
local CLOCKS_AGREE = 0.05
local LOST = -1  -- the caller does not hold the lease any more
local LONGEST_MS = 2 ^ 53  -- the longest time that PEXPIRE accepts

local function conversation(openid) return prefix .. 'c:' .. openid end
local function queue(openid) return prefix .. 'q:' .. openid end
local function message(openid, dedup) return prefix .. 'm:' .. openid .. ':' .. dedup end
local function passive_reply(openid, dedup) return prefix .. 'a:' .. openid .. ':' .. dedup end

local function later_of(one, other)
  if not one or tonumber(other) > tonumber(one) then return other end
  return one
end

local function is_held(openid, owner, fence)
  local stored = redis.call('HMGET', conversation(openid), 'owner', 'fence')
  return stored[1] == owner and stored[2] == fence
end

-- Returns {budget_left, budget_until, handed_over_until, agent} of a conversation.
local function quota_and_handover_of(openid)
  return redis.call('HMGET', conversation(openid), 'budget_left', 'budget_until', 'handed_over_until', 'agent')
end

-- Adds the quota that a sender counted down to the values for HSET, unless the user has acted since: then the stored
-- budget_until differs. All times have the same form, so equal times are equal strings.
local function add_quota(values, stored_until, left, budget_until)
  if left == '' or (stored_until and stored_until ~= budget_until) then return end
  local n = #values
  values[n + 1], values[n + 2], values[n + 3], values[n + 4] = 'budget_left', left, 'budget_until', budget_until
end

-- Writes the conversation's state; '' leaves it as it is.
local function write_state(key, state)
  if state == '{}' then
    redis.call('HDEL', key, 'state')
  elseif state ~= '' then
    redis.call('HSET', key, 'state', state)
  end
end

-- Begins a handover until then; '0' ends it.
local function hand_over(openid, until_then, agent)
  if tonumber(until_then) > 0 then
    redis.call('HSET', conversation(openid), 'handed_over_until', until_then, 'agent', agent)
    redis.call('ZADD', prefix .. 'agents', until_then, openid)
  else
    redis.call('HDEL', conversation(openid), 'handed_over_until', 'agent')
    redis.call('ZREM', prefix .. 'agents', openid)
  end
end

-- Counts an attempt for the first pending message. Returns
-- {seq, fields, received_at, attempts, sent, unsent, quota and handover}, or nil if no message is pending.
local function next_pending(openid)
  local first = redis.call('ZRANGE', queue(openid), 0, 0, 'WITHSCORES')
  if not first[1] then return nil end
  local key = message(openid, first[1])
  local attempts = redis.call('HINCRBY', key, 'attempts', 1)
  local stored = redis.call('HMGET', key, 'fields', 'received_at', 'sent', 'unsent')
  return {first[2], stored[1], stored[2], attempts, stored[3], stored[4], quota_and_handover_of(openid)}
end

-- Releases the conversation, which has pending messages: it may be claimed from next_at on.
local function release(openid, next_at)
  redis.call('HDEL', conversation(openid), 'owner', 'lease_until')
  redis.call('HSET', conversation(openid), 'next_at', next_at)
  redis.call('ZREM', prefix .. 'leases', openid)
  redis.call('ZADD', prefix .. 'waiting', next_at, openid)
end

-- Lets the conversation expire after a time without messages, but not before its handover and its quota have ended.
local function expire_later(openid, now, idle_ms, state_ms)
  local key = conversation(openid)
  local milliseconds = tonumber(redis.call('HEXISTS', key, 'state') == 1 and state_ms or idle_ms)
  local ends = redis.call('HMGET', key, 'handed_over_until', 'budget_until')
  for i = 1, 2 do
    if ends[i] then
      milliseconds = math.max(milliseconds, math.min((tonumber(ends[i]) - tonumber(now)) * 1000, LONGEST_MS))
    end
  end
  redis.call('PEXPIRE', key, string.format('%.0f', milliseconds))
end

-- Releases the conversation, which has no pending message.
local function set_idle(openid, now, idle_ms, state_ms)
  local key = conversation(openid)
  redis.call('HDEL', key, 'owner', 'lease_until', 'next_at')
  redis.call('ZREM', prefix .. 'leases', openid)
  redis.call('ZREM', prefix .. 'waiting', openid)
  expire_later(openid, now, idle_ms, state_ms)
end
