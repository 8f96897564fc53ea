-- Generic cell rate algorithm: one key holds the theoretical arrival time (TAT) in microseconds on Redis' clock.
-- KEYS[1] who and what; ARGV: calls per period, period in microseconds, calls this time.
-- Returns {1 if it may pass, calls left, microseconds until it may pass, microseconds until all is allowed again}.
local limit, period, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval = period / limit
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = tat + cost * interval
local wait = after - now - period
if wait > 0 then
    return {0, math.floor((period - (tat - now)) / interval + 0.000001), math.ceil(wait), math.ceil(tat - now)}
end
-- Printed whole: Lua's own conversion keeps 14 digits, and microseconds since 1970 have 16.
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {1, math.floor((period - (after - now)) / interval + 0.000001), 0, math.ceil(after - now)}
