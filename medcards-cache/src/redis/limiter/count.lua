-- Counts one call against each of several quotas, or against none.
--
-- KEYS: the counter of each quota. One is 16 bytes, big-endian: the number of a window (8), and what was
-- allowed in it and in the one before (4 each).
-- ARGV: the time in microseconds since the epoch, or nothing for that of this server; then for each
-- quota the length of its window in microseconds, its limit, and what the call costs.
--
-- Returns 1 or 0 for whether the call was counted, in a byte; then for each quota its counter as it was,
-- brought to the present, and the microseconds since its window began (8).
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local floor, pack, unpack = math.floor, struct.pack, struct.unpack
local counters, is_counted = {}, 1
for i = 1, #KEYS do
  local length = tonumber(ARGV[3 * i - 1])
  local window, current, previous = floor(now / length), 0, 0
  local kept = redis.call('GET', KEYS[i])
  if kept then
    local kept_window, kept_current, kept_previous = unpack('>I8I4I4', kept)
    if kept_window >= window then
      -- A clock that went back stays at the start of the window that it had reached.
      window, current, previous = kept_window, kept_current, kept_previous
    elseif kept_window == window - 1 then
      previous = kept_current
    end
  end

  local elapsed = now - window * length
  if elapsed < 0 then elapsed = 0 end
  local weight = floor((1 - elapsed / length) * previous)
  if current + weight + ARGV[3 * i + 1] > tonumber(ARGV[3 * i]) then
    is_counted = 0
  end
  counters[i] = pack('>I8I4I4I8', window, current, previous, elapsed)
end

if is_counted == 1 then
  for i = 1, #KEYS do
    local cost = ARGV[3 * i + 1]
    if cost ~= '0' then
      local window, current, previous = unpack('>I8I4I4', counters[i])
      -- Two windows on, nothing of this weighs any more; the second is for clocks that differ.
      local keep_ms = floor(ARGV[3 * i - 1] / 500) + 1001
      redis.call('SET', KEYS[i], pack('>I8I4I4', window, current + cost, previous), 'PX', keep_ms)
    end
  end
end
return pack('B', is_counted) .. table.concat(counters)
