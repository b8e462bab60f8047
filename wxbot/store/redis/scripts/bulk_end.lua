-- ARGV: name of the copy
if redis.call('GET', prefix .. 'copying') ~= ARGV[1] then return LOST end
return redis.call('DEL', prefix .. 'copying')
