-- Takes back what a call counted.
--
-- KEYS: the counters. ARGV: for each the number of the window in which it counted, and the cost.
--
-- A counter that is gone stays so: what is written here keeps the expiry that it has.
for i, key in ipairs(KEYS) do
  local window = tonumber(ARGV[2 * i - 1])
  local cost = tonumber(ARGV[2 * i])
  local kept = redis.call('HMGET', key, 'window', 'current', 'previous')
  local kept_window = tonumber(kept[1])
  if kept_window == window then
    redis.call('HSET', key, 'current', math.max(0, kept[2] - cost))
  elseif kept_window == window + 1 then
    redis.call('HSET', key, 'previous', math.max(0, kept[3] - cost))
  end
end
