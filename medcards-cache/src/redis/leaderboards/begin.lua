-- Begins a next edition unless a whole one is being filled.
-- KEYS: the meta hash. ARGV: the edition, the place before the first event.
local at = redis.call('HMGET', KEYS[1], 'next', 'next_position', 'next_lost')
if not at[1] or not at[2] or at[3] then
    redis.call('HSET', KEYS[1], 'next', ARGV[1], 'next_position', ARGV[2])
    redis.call('HDEL', KEYS[1], 'next_lost')
end
return redis.call('HMGET', KEYS[1], 'current', 'current_position', 'current_lost',
    'next', 'next_position', 'next_lost')
