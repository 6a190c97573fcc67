-- Compares sorted sets with what is known of them, and drops those that are not to be kept.
-- KEYS: the meta hash, then sorted sets.
-- ARGV: for each of these its edition, its field, and the second from which it is not kept (0: always).
local meta = KEYS[1]
local at = redis.call('HMGET', meta, 'current', 'next')
local now = tonumber(redis.call('TIME')[1])
for i = 2, #KEYS do
    local edition, field = ARGV[3 * i - 5], ARGV[3 * i - 4]
    local kept_until = tonumber(ARGV[3 * i - 3])
    local known = redis.call('HGET', meta, field)
    local role = (at[1] == edition and 'current') or (at[2] == edition and 'next')
    if not role or (kept_until > 0 and now >= kept_until) then
        redis.call('UNLINK', KEYS[i])
        redis.call('HDEL', meta, field)
    else
        local count = redis.pcall('ZCARD', KEYS[i])
        if type(count) ~= 'number' then
            -- Something else has its name, which nobody could read or count on.
            redis.call('UNLINK', KEYS[i])
        end
        if known and count ~= tonumber(known) then
            redis.call('HSET', meta, role .. '_lost', '1')
        end
    end
end
return 0
