-- Changes a value in one step.
-- KEYS: the value's. ARGV: the value that has to stand there, '' for none, and the
-- one to store. Returns 1 stored, 0 another one stands there.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
