"""What Redis runs, alone: nobody comes between reading and writing. Pure.

Keys: first that which is asked for, then one of the mark of an exchange. In the latter, "void" says that what the
exchange asked for is not to be done, should it come late: a question may wait in a connection that was given up, and
be overtaken by the one that undoes it. "taken" says that a use was counted whose asker perhaps never learns of it.

Only SET, GET, DEL and TIME, so that little needs to be allowed. Whole numbers up to 2**53 are exact in Lua.
"""

from typing import NewType

Script = NewType("Script", str)

# Seconds. Nothing is on its way for so long.
_VOID = 3600
# Seconds within which a use whose answer was lost can be undone. Each use of a rate leaves a key for so long.
_TAKEN = 60

# ARGV: the mark, seconds. Returns 1 if it is claimed now.
CLAIM = Script("""
if redis.call('GET', KEYS[2]) then return 0 end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) and 1 or 0
""")

# ARGV: the mark.
GIVE_BACK = Script(f"""
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[2], 'void', 'EX', {_VOID})
return 0
""")

# ARGV: the time, or nothing for the server's; every and whole of the pace. All of these in microseconds.
_PACED = """
local now, every, whole = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local function keep(number)
  local life = string.format('%.0f', math.ceil((number - now) / 1000) + 1000)
  redis.call('SET', KEYS[1], string.format('%.0f', number), 'PX', life)
end
local kept = redis.call('GET', KEYS[1])
local said = redis.call('GET', KEYS[2])
"""

# pace.advance(). Returns how many microseconds it is too early.
TAKE = Script(f"""
{_PACED}
if said == 'void' then return 0 end
local held = math.min(math.max(tonumber(kept or '0'), now), now + whole)
local early = held + every - now - whole
if early > 0 then
  keep(held)
  return early
end
redis.call('SET', KEYS[2], 'taken', 'EX', {_TAKEN})
keep(held + every)
return 0
""")

# pace.retreat(), once, of a use that was counted no longer ago than that is known. After the pace, ARGV has 1 if its
# answer came, else 0: then it may come late, and only then a key has to stay. Otherwise each failure of Tailscale's
# would leave one, and whoever comes again and again would fill the server.
UNTAKE = Script(f"""
{_PACED}
if said == 'taken' then
  if kept then keep(math.max(tonumber(kept) - every, now)) end
  redis.call('DEL', KEYS[2])
elseif ARGV[4] == '0' then
  redis.call('SET', KEYS[2], 'void', 'EX', {_VOID})
end
return 1
""")
