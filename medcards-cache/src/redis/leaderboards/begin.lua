-- Begins a next edition unless a whole one is being filled that knows of as many corrections.
-- KEYS: the meta hash. ARGV: the edition, the place before the first event, how many corrections.
local at = redis.call('HMGET', KEYS[1], 'next', 'next_position', 'next_lost', 'next_corrections')
if not at[1] or not at[2] or at[3] or tonumber(at[4] or '0') < tonumber(ARGV[3]) then
    redis.call('HSET', KEYS[1], 'next', ARGV[1], 'next_position', ARGV[2],
        'next_corrections', ARGV[3])
    redis.call('HDEL', KEYS[1], 'next_lost')
end
return redis.call('HMGET', KEYS[1], 'current', 'current_position', 'current_lost',
    'current_corrections', 'next', 'next_position', 'next_lost', 'next_corrections')
