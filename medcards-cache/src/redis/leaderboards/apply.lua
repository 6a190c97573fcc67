-- Counts a batch in an edition that stands where the batch begins.
-- KEYS: the meta hash, then each board and cohort list of the batch.
-- ARGV: edition, from, to, how many of the keys are boards; then for each key: its field in the meta
-- hash, the second from which it is not kept (0: always), a count, and as many users, for a board
-- each with points.
local meta, edition = KEYS[1], ARGV[1]
local at = redis.call('HMGET', meta, 'current', 'current_position', 'current_lost',
    'next', 'next_position', 'next_lost')
local role, position
if at[1] == edition and not at[3] then
    role, position = 'current', at[2]
elseif at[4] == edition and not at[6] then
    role, position = 'next', at[5]
else
    return {'gone', ''}
end
if position ~= ARGV[2] then
    return {'elsewhere', position}
end

-- Everything is looked at before anything is written: a script that fails midway is not undone.
local now = tonumber(redis.call('TIME')[1])
local boards = tonumber(ARGV[4])
local parts, next_arg = {}, 5
for i = 2, #KEYS do
    local part = {
        field = ARGV[next_arg],
        kept_until = tonumber(ARGV[next_arg + 1]),
        count = tonumber(ARGV[next_arg + 2]),
        first = next_arg + 3,
        is_board = i <= boards + 1,
    }
    part.is_kept = part.kept_until == 0 or now < part.kept_until
    if part.is_kept then
        local known = tonumber(redis.call('HGET', meta, part.field) or '0')
        local count = redis.pcall('ZCARD', KEYS[i])
        if type(count) ~= 'number' then
            -- Something else has its name, which nobody could read or count on.
            redis.call('UNLINK', KEYS[i])
        end
        if count ~= known then
            redis.call('HSET', meta, role .. '_lost', '1')
            return {'gone', ''}
        end
    end
    parts[i] = part
    next_arg = part.first + part.count * (part.is_board and 2 or 1)
end

for i = 2, #KEYS do
    local key, part = KEYS[i], parts[i]
    if part.is_kept then
        for n = 0, part.count - 1 do
            if part.is_board then
                local user, points = ARGV[part.first + 2 * n], ARGV[part.first + 2 * n + 1]
                redis.call('ZINCRBY', key, '-' .. points, user)
            else
                -- Only a user who is new changes how many there are.
                local place = redis.call('ZCARD', key)
                redis.call('ZADD', key, 'NX', place, ARGV[part.first + n])
            end
        end
        redis.call('HSET', meta, part.field, redis.call('ZCARD', key))
        if part.kept_until > 0 then
            -- A minute later than asked for, so that it is never gone while it is thought to be there.
            redis.call('EXPIREAT', key, part.kept_until + 60)
        end
    end
end
redis.call('HSET', meta, role .. '_position', ARGV[3])
return {'done', ''}
