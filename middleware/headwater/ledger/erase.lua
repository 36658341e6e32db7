-- Moves all rows that a user has in one month, and in its days, to the account of what was erased, on the same shard: sums
-- are added, the user's rows and their members of the index go. All of it, or none of it; a second call finds nothing.
-- KEYS, all of one shard: 1 stream, 2 parts, 3 the user's bucket of the month's index, 4 the bucket of what was erased,
--       5 the bitmap of buckets; then, per part and per day, the user's row and that of what was erased.
-- ARGV: 1 how many parts, 2 the bucket of what was erased; then, per part, both members of the index.
-- Returns the id of the last single charge, how many rows were moved; or nothing, where a part is not among those given.
-- A Lua number is a double, exact only to 2^53: numbers of 80 bits are added in halves.
local parts_count = tonumber(ARGV[1])
if redis.call('HLEN', KEYS[2]) ~= parts_count then
  return {}
end

-- A right that is missed in the middle would leave half of it. (Before Redis 7 nobody can be asked.)
if redis.acl_check_cmd then
  for _, command in ipairs({{'SET', KEYS[2], ''}, {'DEL', KEYS[2]}, {'SREM', KEYS[2], ''}, {'SADD', KEYS[2], ''}}) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM the user has no permission to run ' .. command[1])
    end
  end
end

local HALF = 281474976710656
local FOREVER = 3155760000000 -- ms: a row that somebody else made

-- The halves of a row's sums: narrow ones have 64 bits, wide ones 80 and a `+` behind them. nil: it is no row.
local function halves(row)
  local is_wide = #row % 2 == 1
  local bytes = is_wide and 10 or 8
  if #row < bytes or #row % bytes ~= (is_wide and 1 or 0) then
    return nil
  end
  local count = math.floor(#row / bytes)
  local found = {struct.unpack('>' .. string.rep(is_wide and 'i4I6' or 'i2I6', count), row)}
  found[2 * count + 1] = nil -- where reading ended
  return found, count
end

-- The sum of two rows, a wide one; `''` is none.
local function sum(one, other)
  local sums, count = halves(one)
  local added, added_count = {}, 0
  if other ~= '' then
    added, added_count = halves(other)
  end
  if not sums or not added then
    return nil
  end
  count = math.max(count, added_count) -- zeros at the end are left out
  for i = 2, 2 * count, 2 do
    local low, high = (sums[i] or 0) + (added[i] or 0), (sums[i - 1] or 0) + (added[i - 1] or 0)
    if low >= HALF then
      low, high = low - HALF, high + 1
    end
    sums[i], sums[i - 1] = low, high
  end
  return struct.pack('>' .. string.rep('i4I6', count), unpack(sums, 1, 2 * count)) .. '+'
end

local function life(key)
  local left_ms = redis.call('PTTL', key)
  return left_ms == -1 and FOREVER or left_ms
end

-- Whatever can fail on what is stored fails here, before the first write.
local moved = {}
for k = 6, #KEYS, 2 do
  local row = redis.call('GET', KEYS[k])
  if row then
    local kept = redis.call('GET', KEYS[k + 1]) or ''
    local both = sum(row, kept)
    if not both then
      return redis.error_reply('a row of ' .. #row .. ' or ' .. #kept .. ' bytes is none of ours')
    end
    local life_ms = math.max(life(KEYS[k]), life(KEYS[k + 1]), 1)
    moved[#moved + 1] = {k, both, life_ms}
  end
end

-- Adds a member to a set or a bit to a bitmap that then lives at least as long as a row.
local function keep(key, life_ms, ...)
  redis.call(...)
  if redis.call('PTTL', key) < life_ms then
    redis.call('PEXPIRE', key, string.format('%.0f', life_ms))
  end
end

for _, each in ipairs(moved) do
  local k, life_ms = each[1], each[3]
  local part = (k - 4) / 2
  redis.call('SET', KEYS[k + 1], each[2], 'PX', string.format('%.0f', life_ms))
  redis.call('DEL', KEYS[k])
  if part <= parts_count then
    keep(KEYS[4], life_ms, 'SADD', KEYS[4], ARGV[2 * part + 2])
    keep(KEYS[5], life_ms, 'SETBIT', KEYS[5], ARGV[2], 1)
  end
end
-- Without a row, too: a member whose row has expired.
for part = 1, parts_count do
  redis.call('SREM', KEYS[3], ARGV[2 * part + 1])
end

local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
return {last[1] and last[1][1] or '', #moved}
