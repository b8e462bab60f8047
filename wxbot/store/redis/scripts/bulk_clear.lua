-- ARGV: name of the copy, then keys without their common prefix
if redis.call('GET', prefix .. 'copying') ~= ARGV[1] then return LOST end
for i = 2, #ARGV do redis.call('UNLINK', prefix .. ARGV[i]) end
return 1
