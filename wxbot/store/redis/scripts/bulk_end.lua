-- args: copy (its name)
if redis.call('GET', prefix .. 'copying') ~= args.copy then return LOST end
return redis.call('DEL', prefix .. 'copying')
