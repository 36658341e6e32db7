-- Applies one batch of a journal's charges behind the last applied sequence: all of it, or none of it.
-- KEYS, all of one shard: 1 journals, 2 stream, 3 parts; then the rows: users' months, total months, users' days, total days;
--       then, per user's month, its bucket of the index; then the bases of each month; then the buckets of receipts; then
--       the bitmaps of buckets; last the first sighting, where the batch is one charge that others may show too.
-- ARGV: 1 journal id, 2 previous sequence, 3 last sequence, 4 how many users' months, 5 how many months with the totals,
--       6 how many rows, 7 lifetime of a month, 8 of a day, 9 of a receipt, 10 of a first sighting in s ('0': none to keep),
--       11 oldest moment of the stream to keep in ms, 12 stream field, 13 parts as JSON [short name, name, ...],
--       14 bases as JSON [[document, count, ...], ...], 15 what is added to each row, one behind the other, 16 per charge its
--       bucket of receipts, the length of what its receipt is found by, and that; 17... packed charges.
-- A Lua number is a double, exact only to 2^53: a row's numbers of 80 bits are added in halves, and what they add, 64 bits.
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or '0'
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
local ADDED, STORED = '>' .. string.rep('i2I6', count), '>' .. string.rep('i4I6', count)

-- Adds to a row; whether it is a new one.
local function add(key, added, lifetime)
  local row = try('GET', key)
  if row and #row % 10 ~= 0 then
    refused, row = refused + 1, nil
  end
  if row == nil then
    return false
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
  local key = KEYS[3 + r]
  local added = string.sub(ARGV[15], (r - 1) * row_bytes + 1, r * row_bytes)
  if add(key, added, r <= months_count and ARGV[7] or ARGV[8]) and r <= month_count then
    local index = KEYS[index_keys + r]
    local user, part = string.match(key, ':u:(.*):%d+:(.*)$')
    local buckets, bucket = string.match(index, '^(.*):(%x+)$')
    try('SADD', index, user .. '|' .. part)
    try('EXPIRE', index, ARGV[7])
    try('SETBIT', buckets, tonumber(bucket, 16), 1)
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

local receipts, at = {}, 1
for a = 17, #ARGV do
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
try('XTRIM', KEYS[2], 'MINID', '~', ARGV[11])

for bucket, found in pairs(receipts) do
  try('HSET', KEYS[receipts_keys + bucket], unpack(found))
  try('EXPIRE', KEYS[receipts_keys + bucket], ARGV[9])
end
return {1, ARGV[3], refused, 0}
