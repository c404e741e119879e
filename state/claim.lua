-- Claims a lane in one shard.
-- KEYS: the fence record. ARGV: the token of this claim.
-- Returns {the new record, the old one or ''}.
-- A record that is none of ours is returned unchanged as both.
local old = redis.call('GET', KEYS[1])
local epoch, payload = 0, ''
if old then
  local stored, rest = string.match(old, '^(%d+)%-%x+:%d+:(.*)$')
  if not stored then
    return {old, old}
  end
  epoch, payload = tonumber(stored), rest
end
local time = redis.call('TIME')
epoch = math.max(epoch + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
local new = string.format('%.0f', epoch) .. '-' .. ARGV[1] .. ':0:' .. payload
redis.call('SET', KEYS[1], new)
return {new, old or ''}
