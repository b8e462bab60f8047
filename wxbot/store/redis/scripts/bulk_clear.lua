-- args: copy (its name), names (keys without their common prefix)
if redis.call('GET', prefix .. 'copying') ~= args.copy then return LOST end
for _, name in ipairs(args.names) do redis.call('UNLINK', prefix .. name) end
return 1
