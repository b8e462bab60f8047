-- args: names: keys of conversations and messages, without their common prefix
-- Returns how many of them are {waiting, dead, dedup_records, conversations}.
local waiting, dead, dedup_records, conversations = 0, 0, 0, 0
for _, name in ipairs(args.names) do
  local key = prefix .. name
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then
    dedup_records = dedup_records + 1
  elseif kind == 'hash' and name:sub(1, 2) == 'c:' then
    conversations = conversations + 1
  elseif kind == 'hash' and redis.call('HEXISTS', key, 'died_at') == 1 then
    dead = dead + 1
  elseif kind == 'hash' then
    waiting = waiting + 1
  end
end
return {waiting, dead, dedup_records, conversations}
