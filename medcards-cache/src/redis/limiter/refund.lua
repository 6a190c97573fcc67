-- Takes back what a call counted.
--
-- KEYS: the counters, as count.lua has them. ARGV: for each the number of the window in which it
-- counted, and the cost.
--
-- A counter that is gone stays so: what is written here keeps the expiry that it has.
for i = 1, #KEYS do
  local window, cost = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local kept = redis.call('GET', KEYS[i])
  if kept then
    local kept_window, current, previous = struct.unpack('>I8I4I4', kept)
    if kept_window == window then
      current = math.max(0, current - cost)
    elseif kept_window == window + 1 then
      previous = math.max(0, previous - cost)
    end
    redis.call('SET', KEYS[i], struct.pack('>I8I4I4', kept_window, current, previous), 'KEEPTTL')
  end
end
