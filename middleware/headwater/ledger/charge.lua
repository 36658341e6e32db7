-- Applies one batch of a journal's charges behind the last applied sequence: all of it, or none of it.
-- KEYS, all of one shard: 1 journals, 2 stream, 3 parts; then the rows: users' months, total months, users' days and total
--       days; then, per user's month, its bucket of the index and the bitmap of buckets; then the bases of each month; then
--       the buckets of receipts; behind them the first sighting, where the batch is one charge that others may show too.
-- ARGV: 1 journal id, 2 previous sequence, 3 last sequence, 4 how many users' months, 5 how many months with the totals,
--       6 how many rows, 7 lifetime of a month, 8 of a day, 9 of a receipt, 10 of a first sighting in s ('0': none to keep),
--       11 oldest moment of the stream to keep in ms, 12 stream field, 13 parts as JSON [short name, name, ...],
--       14 bases as JSON [[document, count, ...], ...], 15 how many buckets of receipts; then what each row adds; then, per
--       user's month, its bucket and its member of the index; then, per charge, its bucket of receipts, its id, and it; last, the
--       fingerprint of the identity key: after a rotation, batches of another key are refused.
-- A Lua number is a double, exact only to 2^53: a row's numbers of 80 bits are added in halves, and what they add, 64 bits.
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
local index_keys, index_args = 3 + rows_count, 15 + rows_count
local bases_keys = index_keys + 2 * month_count
local receipts_keys, charge_args = bases_keys + #bases, index_args + 2 * month_count

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
    local bucket = KEYS[receipts_keys + tonumber(ARGV[charge_args + 1])]
    try('HSET', bucket, ARGV[charge_args + 2], first)
    try('EXPIRE', bucket, ARGV[9])
    return {1, ARGV[3], refused, 1}
  end
end

local HALF = 281474976710656
local ADDED, STORED, formats_count = nil, nil, 0

-- Adds to a row; whether it is a new one.
local function add(key, added, lifetime)
  local row = try('GET', key)
  if row and #row % 10 ~= 0 then
    refused, row = refused + 1, nil
  end
  if row == nil then
    return false
  end
  local count = #added / 8
  if count ~= formats_count then
    ADDED, STORED, formats_count = '>' .. string.rep('i2I6', count), '>' .. string.rep('i4I6', count), count
  end
  local sums = {struct.unpack(ADDED, added)}
  local rest = ''
  if row then
    -- Of a version that knew fewer fields, or more.
    row, rest = row .. string.rep('\0', 10 * count - #row), string.sub(row, 10 * count + 1)
    local before = {struct.unpack(STORED, row)}
    for i = 2, 2 * count, 2 do
      local low = sums[i] + before[i]
      local high = sums[i - 1] + before[i - 1]
      if low >= HALF then
        low, high = low - HALF, high + 1
      end
      sums[i], sums[i - 1] = low, high
    end
  end
  try('SET', key, struct.pack(STORED, unpack(sums, 1, 2 * count)) .. rest, 'EX', lifetime)
  return not row
end

for r = 1, rows_count do
  local is_new = add(KEYS[3 + r], ARGV[15 + r], r <= months_count and ARGV[7] or ARGV[8])
  if is_new and r <= month_count then
    local index, buckets = KEYS[index_keys + 2 * r - 1], KEYS[index_keys + 2 * r]
    try('SADD', index, ARGV[index_args + 2 * r])
    try('EXPIRE', index, ARGV[7])
    try('SETBIT', buckets, ARGV[index_args + 2 * r - 1], 1)
    try('EXPIRE', buckets, ARGV[7])
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

local receipts = {}
for a = charge_args + 1, #ARGV - 1, 3 do
  local id = try('XADD', KEYS[2], '*', ARGV[12], ARGV[a + 2])
  local bucket = receipts[ARGV[a]]
  if not bucket then
    bucket = {}
    receipts[ARGV[a]] = bucket
  end
  if id then
    bucket[#bucket + 1] = ARGV[a + 1]
    bucket[#bucket + 1] = id
    if ARGV[10] ~= '0' then
      try('SET', KEYS[#KEYS], id, 'EX', ARGV[10])
    end
  end
end
try('XTRIM', KEYS[2], 'MINID', '~', ARGV[11])

for number, found in pairs(receipts) do
  local bucket = KEYS[receipts_keys + tonumber(number)]
  if #found > 0 then
    try('HSET', bucket, unpack(found))
    try('EXPIRE', bucket, ARGV[9])
  end
end
return {1, ARGV[3], refused, 0}
