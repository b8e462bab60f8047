-- This text is put in front of every script of a bot. -2: a copy of the account into this store has not finished.
if redis.call('EXISTS', prefix .. 'copying') == 1 then return -2 end
