-- Reads a board, around a user or from the top, or a cohort.
-- KEYS: the meta hash, the board, for a cohort the list of the week.
-- ARGV: edition, the field of the last key, the second from which it is not kept (0: always), what to
-- read, then its arguments.
-- Replies the edition that answers; and if that was asked, its position, whether it is complete, how
-- many users there are, and what was read.
local meta, board = KEYS[1], KEYS[2]
local read, last = ARGV[4], KEYS[#KEYS]
local at = redis.call('HMGET', meta, 'current', 'current_position', 'current_lost',
    'next', 'next_position', 'next_lost', ARGV[2])
local edition, position, is_complete = at[1], at[2], at[1] and not at[3]
if not edition then
    edition, position = at[4], at[5]
end
if not edition or edition ~= ARGV[1] then
    return {edition or ''}
end
local kept_until = tonumber(ARGV[3])
local is_over = kept_until > 0 and tonumber(redis.call('TIME')[1]) >= kept_until
local count = redis.call('ZCARD', last)
if is_over then
    count = 0
elseif count ~= tonumber(at[7] or '0') then
    is_complete = false
end
local reply = {edition, position, is_complete and 1 or 0, count}
if is_over then
    return reply
end

if read == 'top' then
    local limit = tonumber(ARGV[5])
    -- To ask for none of them would be to ask for all.
    if limit > 0 then
        reply[5] = redis.call('ZRANGE', board, 0, limit - 1, 'WITHSCORES')
    end
elseif read == 'standing' then
    local index = redis.call('ZRANK', board, ARGV[5])
    if not index then
        return reply
    end
    local first = math.max(index - tonumber(ARGV[6]), 0)
    local around = redis.call('ZRANGE', board, first, index + tonumber(ARGV[6]), 'WITHSCORES')
    local better = redis.call('ZCOUNT', board, '-inf', '(' .. around[2])
    reply[5], reply[6], reply[7] = around, first, better
else
    local place = redis.call('ZSCORE', last, ARGV[5])
    if not place then
        return reply
    end
    local size = tonumber(ARGV[6])
    local number = math.floor(tonumber(place) / size)
    local members = redis.call('ZRANGE', last, number * size, number * size + size - 1)
    local standings = {}
    for _, user in ipairs(members) do
        standings[#standings + 1] = user
        standings[#standings + 1] = redis.call('ZSCORE', board, user) or '0'
    end
    reply[5], reply[6] = standings, number
end
return reply
