-- Makes a month closed: the moment from which its statement is what it is. All of it, or none of it.
-- KEYS: 1 heads, 2 the closing under way. ARGV: 1 token of the closing, 2 number of the statement, 3 its head.
-- Returns 1; 0 where another closing took over, or a statement of that number is there.
if redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] or redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) == 0 then
  return 0
end
redis.call('DEL', KEYS[2])
return 1
