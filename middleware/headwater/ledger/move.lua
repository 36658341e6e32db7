-- Gives rows other names, and members of a month's index with them. What was moved before is stepped over.
-- KEYS, all of one shard: per row, its present and its next key; then, per member, its present set, its next set, and the
--       bitmap of buckets that the next set belongs to.
-- ARGV: 1 how many rows; then, per member, its present and its next name, and the bucket of its next set.
local rows_count = tonumber(ARGV[1])
for r = 1, rows_count do
  if redis.call('EXISTS', KEYS[2 * r - 1]) == 1 then
    redis.call('RENAME', KEYS[2 * r - 1], KEYS[2 * r])
  end
end

local function keep(key, life_ms)
  if life_ms >= 0 and redis.call('PTTL', key) < life_ms then
    redis.call('PEXPIRE', key, string.format('%.0f', life_ms))
  end
end

local k = 2 * rows_count
for a = 2, #ARGV, 3 do
  local life_ms = redis.call('PTTL', KEYS[k + 1])
  redis.call('SADD', KEYS[k + 2], ARGV[a + 1])
  redis.call('SETBIT', KEYS[k + 3], ARGV[a + 2], 1)
  redis.call('SREM', KEYS[k + 1], ARGV[a])
  keep(KEYS[k + 2], life_ms)
  keep(KEYS[k + 3], life_ms)
  k = k + 3
end
return #ARGV
