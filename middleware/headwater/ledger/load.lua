-- Keeps what one worker has in flight on a deployment, and adds up what the other living workers have.
-- KEYS: 1 the deployment's load. ARGV: 1 worker, 2 its count, 3 how long a count lives, in ms.
-- A field is 'count said_ms'. The time is this server's own, so it does not matter how the workers' clocks are set.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local life_ms = tonumber(ARGV[3])

local others, mine, mine_ms = 0, nil, 0
local rows = redis.call('HGETALL', KEYS[1])
for i = 1, #rows, 2 do
  local count, said_ms = string.match(rows[i + 1], '^(%d+) (%d+)$')
  -- Either way: a clock that was set back must not keep the dead alive.
  if not count or math.abs(now_ms - said_ms) >= life_ms then
    redis.call('HDEL', KEYS[1], rows[i])
  elseif rows[i] == ARGV[1] then
    mine, mine_ms = count, said_ms
  else
    others = others + count
  end
end

-- Written only where it says something new: each write goes into the append-only file. Nothing in flight is no field.
if ARGV[2] == '0' then
  if mine then
    redis.call('HDEL', KEYS[1], ARGV[1])
  end
elseif mine ~= ARGV[2] or math.abs(now_ms - mine_ms) >= life_ms / 4 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %.0f', ARGV[2], now_ms))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return others
