-- Counts one call against each of several quotas, or against none.
--
-- KEYS: the counter of each quota.
-- ARGV: the time in microseconds since the epoch, or nothing for that of this server; then for each
-- quota the length of its window in microseconds, its limit, and what the call costs.
--
-- Returns whether the call was counted; then for each quota the number of its window, what had been
-- allowed in it and in the one before, and the microseconds since it began.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local answer = {1}
for i, key in ipairs(KEYS) do
  local length = tonumber(ARGV[3 * i - 1])
  local limit = tonumber(ARGV[3 * i])
  local cost = tonumber(ARGV[3 * i + 1])

  local kept = redis.call('HMGET', key, 'window', 'current', 'previous')
  local kept_window = tonumber(kept[1])
  local window = math.floor(now / length)
  local current, previous = 0, 0
  if kept_window and kept_window >= window then
    -- A clock that went back stays at the start of the window that it had reached.
    window, current, previous = kept_window, tonumber(kept[2]), tonumber(kept[3])
  elseif kept_window == window - 1 then
    previous = tonumber(kept[2])
  end

  local elapsed = math.max(0, now - window * length)
  local weight = math.floor((1 - elapsed / length) * previous)
  if current + weight + cost > limit then
    answer[1] = 0
  end
  for _, number in ipairs({window, current, previous, elapsed}) do
    answer[#answer + 1] = number
  end
end

if answer[1] == 1 then
  for i, key in ipairs(KEYS) do
    local length = tonumber(ARGV[3 * i - 1])
    local cost = tonumber(ARGV[3 * i + 1])
    if cost > 0 then
      local window, current, previous = unpack(answer, 4 * i - 2, 4 * i)
      redis.call('HSET', key, 'window', window, 'current', current + cost, 'previous', previous)
      -- Two windows on, nothing of this weighs any more; the second is for clocks that differ.
      redis.call('PEXPIRE', key, math.ceil(length / 500) + 1000)
    end
  end
end
return answer
