-- Makes the next edition the current one.
-- KEYS: the meta hash. ARGV: the edition, the place at which it must stand.
local at = redis.call('HMGET', KEYS[1], 'next', 'next_position', 'next_lost', 'next_corrections')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] or at[3] then
    return 0
end
redis.call('HSET', KEYS[1], 'current', at[1], 'current_position', at[2],
    'current_corrections', at[4] or '0')
redis.call('HDEL', KEYS[1], 'current_lost', 'next', 'next_position', 'next_lost',
    'next_corrections')
return 1
