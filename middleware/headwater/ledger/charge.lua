-- Applies one batch of a journal's charges behind the last applied sequence: all of it, or none of it.
-- KEYS: 1 journals, 2 stream, 3 users, then one per sum (user months first), then one per receipt; behind them the first
--       sighting, where the batch is one charge of a generation that others may show too. All of one shard.
-- ARGV: 1 journal id, 2 previous sequence, 3 last sequence, 4 sums as JSON [[ttl, field, amount, ...], ...] (all strings),
--       5 users as JSON [last seen ms, user, ...], 6 how many sums are user months, 7 oldest stream id to keep,
--       8 lifetime of a receipt in s, 9 stream field, 10 fields of a period total as JSON, 11 lifetime of a first sighting
--       in s, '0' where there is none to keep, 12... packed charges.
-- Amounts stay strings: a Lua number is a double, exact only to 2^53.
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or '0'
if stored ~= ARGV[2] then
  return {0, stored}
end

-- First write: where the server refuses writes (OOM, MISCONF, READONLY), it refuses here, before anything is counted.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])

-- Any refusal from here on (a foreign value under our key) is counted and stepped over: an error would leave half a batch.
local refused = 0
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    refused = refused + 1
  end
end

-- An int64 that is full goes on in the next field.
local function add(key, field, amount)
  local reply = redis.pcall('HINCRBY', key, field, amount)
  while type(reply) == 'table' do
    if not string.find(reply.err, 'overflow', 1, true) then
      refused = refused + 1
      return
    end
    field = field .. '+'
    reply = redis.pcall('HINCRBY', key, field, amount)
  end
end

local sums = cjson.decode(ARGV[4])

-- What was counted before counts no more: its receipt is that of the first sighting. A refusal counts, rather than loses.
local is_repeat = false
if ARGV[11] ~= '0' then
  local reply = redis.pcall('SET', KEYS[#KEYS], ARGV[12], 'NX', 'EX', ARGV[11])
  if not reply then
    is_repeat = true
    local first = redis.pcall('GET', KEYS[#KEYS])
    if type(first) == 'string' then
      try('SET', KEYS[#KEYS - 1], first, 'EX', ARGV[8])
    end
  elseif reply.err then
    refused = refused + 1
  end
end

if not is_repeat then
  for k, sum in ipairs(sums) do
    local key = KEYS[3 + k]
    for i = 2, #sum, 2 do
      add(key, sum[i], sum[i + 1])
    end
    try('EXPIRE', key, sum[1])
  end

  local users = cjson.decode(ARGV[5])
  for i = 1, #users, 2 do
    try('ZADD', KEYS[3], 'GT', users[i], users[i + 1])
  end

  for i = 12, #ARGV do
    try('XADD', KEYS[2], 'MINID', '~', ARGV[7], '*', ARGV[9], ARGV[i])
    try('SET', KEYS[3 + #sums + i - 11], ARGV[i], 'EX', ARGV[8])
  end
end

local fields = cjson.decode(ARGV[10])
local totals = {}
for k = 1, tonumber(ARGV[6]) do
  local row = redis.pcall('HMGET', KEYS[3 + k], unpack(fields))
  totals[k] = row.err and {} or row
end
return {1, ARGV[3], totals, refused}
