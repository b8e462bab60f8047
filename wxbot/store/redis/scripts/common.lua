-- The functions that the scripts share. This text is put in front of each script. Each script has one argument, a JSON
-- object. All its values are texts, so that a number keeps its form; a missing value is nil.
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

local prefix, args = KEYS[1], cjson.decode(ARGV[1])
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

-- Returns {interacted_at, typing_until, budget_left, budget_until, handed_over_until, agent} of a conversation, and then
-- the values of other fields.
local function record_of(openid, ...)
  return redis.call('HMGET', conversation(openid), 'interacted_at', 'typing_until', 'budget_left', 'budget_until',
    'handed_over_until', 'agent', ...)
end

-- Returns true if args.owner holds the conversation args.openid with args.fence.
local function is_held()
  local stored = redis.call('HMGET', conversation(args.openid), 'owner', 'fence')
  return stored[1] == args.owner and stored[2] == args.fence
end

-- Returns the dedup key of the pending message args.seq.
local function dedup_of_seq()
  return redis.call('ZRANGE', queue(args.openid), args.seq, args.seq, 'BYSCORE')[1]
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

-- Writes the changed values of args.change, by the owner of the conversation. A quota that ends at another time than the
-- stored one is ignored: the user has acted since. All times have the same form, so equal times are equal texts.
local function change_by_owner()
  local change, key = args.change, conversation(args.openid)
  local stored = redis.call('HMGET', key, 'interacted_at', 'budget_until')
  local values = {'interacted_at', later_of(stored[1], change.interacted_at)}
  local function add(name, value)
    if value then
      values[#values + 1] = name
      values[#values + 1] = value
    end
  end
  add('typing_until', change.typing_until)
  if change.budget_until and (not stored[2] or stored[2] == change.budget_until) then
    add('budget_left', change.budget_left)
    add('budget_until', change.budget_until)
  end
  if change.state == '{}' then redis.call('HDEL', key, 'state') else add('state', change.state) end
  redis.call('HSET', key, unpack(values))
  if change.handed_over_until then hand_over(args.openid, change.handed_over_until, change.agent) end
end

-- Counts an attempt for the first pending message. Returns {seq, fields, received_at, attempts, sent, unsent}, or nil if
-- no message is pending.
local function next_pending(openid)
  local first = redis.call('ZRANGE', queue(openid), 0, 0, 'WITHSCORES')
  if not first[1] then return nil end
  local key = message(openid, first[1])
  local attempts = redis.call('HINCRBY', key, 'attempts', 1)
  local stored = redis.call('HMGET', key, 'fields', 'received_at', 'sent', 'unsent')
  return {first[2], stored[1], stored[2], attempts, stored[3], stored[4]}
end

-- Releases the conversation, which has pending messages: it may be claimed from next_at on.
local function release(openid, next_at)
  redis.call('HDEL', conversation(openid), 'owner', 'lease_until')
  redis.call('HSET', conversation(openid), 'next_at', next_at)
  redis.call('ZREM', prefix .. 'leases', openid)
  redis.call('ZADD', prefix .. 'waiting', next_at, openid)
end

-- Lets the conversation expire after a time without messages, but not before its handover and its quota have ended.
local function expire_later(openid, now)
  local key = conversation(openid)
  local milliseconds = tonumber(redis.call('HEXISTS', key, 'state') == 1 and args.state_ms or args.dedup_ms)
  local ends = redis.call('HMGET', key, 'handed_over_until', 'budget_until')
  for i = 1, 2 do
    if ends[i] then
      milliseconds = math.max(milliseconds, math.min((tonumber(ends[i]) - tonumber(now)) * 1000, LONGEST_MS))
    end
  end
  redis.call('PEXPIRE', key, string.format('%.0f', milliseconds))
end

-- Releases the conversation, which has no pending message.
local function set_idle(openid, now)
  redis.call('HDEL', conversation(openid), 'owner', 'lease_until', 'next_at')
  redis.call('ZREM', prefix .. 'leases', openid)
  redis.call('ZREM', prefix .. 'waiting', openid)
  expire_later(openid, now)
end
