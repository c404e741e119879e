-- Applies one write of a lane in one shard, all of it or nothing.
-- KEYS: the fence record, the records of users.
-- ARGV: epoch-token, number of this write, next payload, the values of the records.
-- Returns 1 applied, 0 done before, -1 no fence record, -2 another epoch,
-- -3 an earlier write is missing.
local fence = redis.call('GET', KEYS[1])
if not fence then
  return -1
end
local epoch, n = string.match(fence, '^([^:]+):(%d+):')
if epoch ~= ARGV[1] then
  return -2
end
local mine = tonumber(ARGV[2])
n = tonumber(n)
if n >= mine then
  return 0
end
if n ~= mine - 1 then
  return -3
end
if #KEYS > 1 then
  local pairs = {}
  for i = 2, #KEYS do
    pairs[2 * i - 3] = KEYS[i]
    pairs[2 * i - 2] = ARGV[i + 2]
  end
  redis.call('MSET', unpack(pairs))
end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2] .. ':' .. ARGV[3])
return 1
