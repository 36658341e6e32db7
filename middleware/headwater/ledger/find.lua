-- Reads on in a stream and returns only the entries that contain some bytes: those of one person among everybody's.
-- KEYS: 1 the stream. ARGV: 1 where to begin, 2 how many entries to look at, 3 the bytes; '' finds all.
-- Returns how many were looked at, the id of the last one, and id, value, id, value, ... of those that were found.
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local found, last = {}, ''
for _, entry in ipairs(entries) do
  last = entry[1]
  if string.find(entry[2][2], ARGV[3], 1, true) then
    found[#found + 1] = last
    found[#found + 1] = entry[2][2]
  end
end
return {#entries, last, found}
