-- What the scripts share. It stands in front of each of them.
--
-- Keys of an account (its braces put all of them into one slot of a cluster):
--   wxbot:{appid}:seq            the last number given to a message
--   wxbot:{appid}:c:OPENID       hash: one conversation: owner, fence, lease_until, next_at (only while work waits),
--                                interacted_at, typing_until, state, budget_left and budget_until (only if known),
--                                handed_over_until and agent (only while human agents have the user)
--   wxbot:{appid}:q:OPENID       sorted set: the conversation's waiting messages, dedup key by number
--   wxbot:{appid}:m:OPENID:DEDUP hash: a message; once it is answered a mere string that says "seen"
--   wxbot:{appid}:a:OPENID:DEDUP the message's passive answer, as JSON: whoever asks comes when it is a string already
--   wxbot:{appid}:waiting        sorted set: conversations with work and no owner, openid by next_at
--   wxbot:{appid}:leases         sorted set: conversations with an owner, openid by lease_until
--   wxbot:{appid}:agents         sorted set: conversations that are handed over, openid by handed_over_until; an index,
--                                the truth is in the conversation
--   wxbot:{appid}:dead           sorted set: dead letters, OPENID:DEDUP by number
--   wxbot:{appid}:token          hash: the access token
--   wxbot:{appid}:media:DIGEST   an uploaded file, as JSON
--   wxbot:{appid}:copying        the name of the copy that fills the account; until it is whole, no bot works it
-- Times are seconds since 1970 by the caller's clock, which follows this server's (wxbot.clock.SharedClock).

local prefix = KEYS[1]
-- Two machines' clocks agree to some milliseconds: a hint must not come before its message is due.
local CLOCKS_AGREE = 0.05
local LOST = -1  -- the caller's lease is no longer its own
local LONGEST_MS = 2 ^ 53  -- PEXPIRE takes no "for ever"

local function conversation(openid) return prefix .. 'c:' .. openid end
local function queue(openid) return prefix .. 'q:' .. openid end
local function message(openid, dedup) return prefix .. 'm:' .. openid .. ':' .. dedup end
local function passive_reply(openid, dedup) return prefix .. 'a:' .. openid .. ':' .. dedup end

local function later_of(one, other)
  if not one or tonumber(other) > tonumber(one) then return other end
  return one
end

local function is_held(openid, owner, fence)
  local held = redis.call('HMGET', conversation(openid), 'owner', 'fence')
  return held[1] == owner and held[2] == fence
end

-- On which terms the user may be sent something: {budget_left, budget_until, handed_over_until, agent}.
local function terms_of(openid)
  return redis.call('HMGET', conversation(openid), 'budget_left', 'budget_until', 'handed_over_until', 'agent')
end

-- Adds what a sender has counted down to what HSET is to write: not if the user has acted meanwhile, which has set
-- another end. All times are written in the same way, so equal ones are equal strings.
local function add_budget(facts, known_until, left, budget_until)
  if left == '' or (known_until and known_until ~= budget_until) then return end
  local n = #facts
  facts[n + 1], facts[n + 2], facts[n + 3], facts[n + 4] = 'budget_left', left, 'budget_until', budget_until
end

-- What plugins know of the user; '' leaves it as it is.
local function keep_state(key, state)
  if state == '{}' then
    redis.call('HDEL', key, 'state')
  elseif state ~= '' then
    redis.call('HSET', key, 'state', state)
  end
end

-- Human agents have the user until then; '0': the bot.
local function hand_over(openid, until_then, agent)
  if tonumber(until_then) > 0 then
    redis.call('HSET', conversation(openid), 'handed_over_until', until_then, 'agent', agent)
    redis.call('ZADD', prefix .. 'agents', until_then, openid)
  else
    redis.call('HDEL', conversation(openid), 'handed_over_until', 'agent')
    redis.call('ZREM', prefix .. 'agents', openid)
  end
end

-- The first waiting message, one attempt counted: {seq, fields, received_at, attempts, sent, unsent, terms}.
local function next_pending(openid)
  local first = redis.call('ZRANGE', queue(openid), 0, 0, 'WITHSCORES')
  if not first[1] then return nil end
  local key = message(openid, first[1])
  local attempts = redis.call('HINCRBY', key, 'attempts', 1)
  local kept = redis.call('HMGET', key, 'fields', 'received_at', 'sent', 'unsent')
  return {first[2], kept[1], kept[2], attempts, kept[3], kept[4], terms_of(openid)}
end

-- The conversation waits for an owner from next_at on, in seconds; nobody owns it any more.
local function offer(openid, next_at)
  redis.call('HDEL', conversation(openid), 'owner', 'lease_until')
  redis.call('HSET', conversation(openid), 'next_at', next_at)
  redis.call('ZREM', prefix .. 'leases', openid)
  redis.call('ZADD', prefix .. 'waiting', next_at, openid)
end

-- It is forgotten when it has been silent for long, and not as long as human agents have the user, or WeChat takes
-- messages for them.
local function forget_later(openid, now, idle_ms, state_ms)
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

-- Nobody owns it and nothing waits.
local function rest(openid, now, idle_ms, state_ms)
  local key = conversation(openid)
  redis.call('HDEL', key, 'owner', 'lease_until', 'next_at')
  redis.call('ZREM', prefix .. 'leases', openid)
  redis.call('ZREM', prefix .. 'waiting', openid)
  forget_later(openid, now, idle_ms, state_ms)
end
