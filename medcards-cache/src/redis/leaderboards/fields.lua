-- Lists what the meta hash tells of. What is no hash there is dropped: all boards are lost then.
-- KEYS: the meta hash.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' then
    if kind ~= 'none' then
        redis.call('UNLINK', KEYS[1])
    end
    return {}
end
return redis.call('HKEYS', KEYS[1])
