-- Stands in front of everything that a bot runs. -2: what is here of the account is half a copy.
if redis.call('EXISTS', prefix .. 'copying') == 1 then return -2 end
