-- Applies one batch of a journal's charges behind the last applied sequence: all of it, or none of it.
-- KEYS, all of one shard: 1 journals, 2 stream, 3 parts; then the rows: users' months, total months, users' days, total days;
--       then, per user's month, its bucket of the index; then the bases of each month; then the buckets of receipts; then
--       the bitmaps of buckets; last the first sighting, where the batch is one charge that others may show too.
-- ARGV: 1 journal id, 2 previous sequence, 3 last sequence, 4 how many users' months, 5 how many months with the totals,
--       6 how many rows, 7 lifetime of a month, 8 of a day, 9 of a receipt, 10 of a first sighting in s ('0': none to keep),
--       11 lifetime of single charges in ms, 12 stream field, 13 parts as JSON [short name, name, ...],
--       14 bases as JSON [[document, count, ...], ...], 15 what is added to each row, one behind the other, 16 per charge its
--       bucket of receipts, the length of what its receipt is found by, and that; 17... packed charges; last, the fingerprint
--       of the identity key: after a rotation, batches of another key are refused.
-- A Lua number is a double, exact only to 2^53: a row's numbers of 64 bits are added in halves. A row with a sum that needs more
-- has numbers of 80 bits and a `+` behind them: its length is odd. See rows.py.
local stored, key = unpack(redis.call('HMGET', KEYS[1], ARGV[1], '!key'))
if key and key ~= ARGV[#ARGV] then
  return {-1, key}
end
stored = stored or '0'
if stored ~= ARGV[2] then
  return {0, stored}
end

-- Whatever can fail on what was sent fails here, before the first write.
local month_count, months_count, rows_count = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local parts, bases = cjson.decode(ARGV[13]), cjson.decode(ARGV[14])
local index_keys = 3 + rows_count
local bases_keys = index_keys + month_count
local receipts_keys = bases_keys + #bases
local row_bytes = #ARGV[15] / rows_count
local count = row_bytes / 8

-- First write: where the server refuses writes (OOM, MISCONF, READONLY), it refuses here, before anything is counted.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])

-- Any refusal from here on (a foreign value under our key) is counted and stepped over: an error would leave half a batch.
local refused = 0
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    refused = refused + 1
    return nil
  end
  return reply
end

-- What was counted before counts no more: its receipt is that of the first sighting. A refusal counts, rather than loses.
if ARGV[10] ~= '0' then
  local first = try('GET', KEYS[#KEYS])
  if type(first) == 'string' then
    local bucket, id = struct.unpack('>HBc0', ARGV[16])
    try('HSET', KEYS[receipts_keys + bucket], id, first)
    try('EXPIRE', KEYS[receipts_keys + bucket], ARGV[9])
    return {1, ARGV[3], refused, 1}
  end
end

local HALF = 281474976710656
local NARROW, WIDE = {}, {}
for n = 1, count do
  NARROW[n], WIDE[n] = '>' .. string.rep('i2I6', n), '>' .. string.rep('i4I6', n)
end

-- A row of these sums, in halves, without the zeros at its end.
local function pack(sums, is_wide, rest)
  local n = count
  while rest == '' and n > 1 and sums[2 * n] == 0 and sums[2 * n - 1] == 0 do
    n = n - 1
  end
  return struct.pack((is_wide and WIDE or NARROW)[n], unpack(sums, 1, 2 * n)) .. rest
end

-- The sum of a row and what is added to it; nil where it is no row.
local function sum(row, added)
  local is_wide = #row % 2 == 1
  local bytes = is_wide and 10 or 8
  local n, rest = math.floor(#row / bytes), ''
  if n == 0 or #row % bytes ~= (is_wide and 1 or 0) then
    return nil
  end
  if n > count then  -- of a version that knows more fields
    rest = string.sub(row, bytes * count + 1, bytes * n)
    n = count
  end
  local sums, before = {struct.unpack(NARROW[count], added)}, {struct.unpack((is_wide and WIDE or NARROW)[n], row)}
  local becomes_wide = false
  for i = 2, 2 * n, 2 do
    local low = sums[i] + before[i]
    local high = sums[i - 1] + before[i - 1]
    if low >= HALF then
      low, high = low - HALF, high + 1
    end
    if high > 32767 or high < -32768 then
      becomes_wide = true
    end
    sums[i], sums[i - 1] = low, high
  end
  if not is_wide and not becomes_wide then
    return pack(sums, false, rest)
  end
  if not is_wide then
    local wider = {}
    for at = 1, #rest, 8 do
      local high, low = struct.unpack(NARROW[1], rest, at)
      wider[#wider + 1] = struct.pack(WIDE[1], high, low)
    end
    rest = table.concat(wider)
  end
  return pack(sums, true, rest) .. '+'
end

-- Adds to a row; whether it is a new one.
local function add(key, added, lifetime)
  local row = try('GET', key)
  if row == nil then
    return false
  end
  local made
  if row then
    made = sum(row, added)
  else
    made = pack({struct.unpack(NARROW[count], added)}, false, '')
  end
  if not made then
    refused = refused + 1
    return false
  end
  try('SET', key, made, 'EX', lifetime)
  return not row
end

for r = 1, rows_count do
  local key = KEYS[3 + r]
  local added = string.sub(ARGV[15], (r - 1) * row_bytes + 1, r * row_bytes)
  if add(key, added, r <= months_count and ARGV[7] or ARGV[8]) and r <= month_count then
    local index = KEYS[index_keys + r]
    local user, part = string.match(key, ':u:(.*):%d+:(.*)$')
    local buckets, bucket = string.match(index, '^(.*):(%x+)$')
    -- It is written with the first charge of a row only, and must outlive the row's last one: two months on top.
    local lifetime = string.format('%.0f', ARGV[7] + 62 * 86400)
    try('SADD', index, user .. '|' .. part)
    try('EXPIRE', index, lifetime)
    try('SETBIT', buckets, tonumber(bucket, 16), 1)
    try('EXPIRE', buckets, lifetime)
  end
end

for i = 1, #parts, 2 do
  try('HSETNX', KEYS[3], parts[i], parts[i + 1])
end

for b, counts in ipairs(bases) do
  for i = 1, #counts, 2 do
    try('HINCRBY', KEYS[bases_keys + b], counts[i], counts[i + 1])
  end
  try('EXPIRE', KEYS[bases_keys + b], ARGV[7])
end

local receipts, at = {}, 1
for a = 17, #ARGV - 1 do
  local bucket, receipt_id
  bucket, receipt_id, at = struct.unpack('>HBc0', ARGV[16], at)
  local id = try('XADD', KEYS[2], '*', ARGV[12], ARGV[a])
  if id then
    local found = receipts[bucket] or {}
    receipts[bucket] = found
    found[#found + 1] = receipt_id
    found[#found + 1] = id
    if ARGV[10] ~= '0' then
      try('SET', KEYS[#KEYS], id, 'EX', ARGV[10])
    end
  end
end
-- By this server's own time: a process whose clock is ahead must not delete what others keep.
local now = redis.call('TIME')
try('XTRIM', KEYS[2], 'MINID', '~', string.format('%.0f', math.max(0, now[1] * 1000 - ARGV[11])))

for bucket, found in pairs(receipts) do
  try('HSET', KEYS[receipts_keys + bucket], unpack(found))
  try('EXPIRE', KEYS[receipts_keys + bucket], ARGV[9])
end
return {1, ARGV[3], refused, 0}
