-- A ledger: reads movements of money, refuses what cannot be, prints what is left.
local Ledger = {}
Ledger.__index = Ledger

function Ledger.new()
  local accounts = setmetatable({}, { __index = function() return 0 end })
  return setmetatable({ accounts = accounts }, Ledger)
end

function Ledger:deposit(name, amount)
  self.accounts[name] = self.accounts[name] + amount
end

function Ledger:withdraw(name, amount)
  local held = self.accounts[name]
  if held < amount then
    error({ why = ("%s has only %d"):format(name, held) })
  end
  self.accounts[name] = held - amount
end

function Ledger:transfer(from, to, amount)
  self:withdraw(from, amount)
  self:deposit(to, amount)
end

function Ledger:apply(line)
  local verb, name, amount = line:match("^(%a+) (%a+) (%d+)$")
  if verb == "deposit" or verb == "withdraw" then
    return self[verb](self, name, math.tointeger(amount))
  end
  local from, to, moved = line:match("^transfer (%a+) (%a+) (%d+)$")
  if not from then
    error({ why = ('cannot read "%s"'):format(line) })
  end
  self:transfer(from, to, math.tointeger(moved))
end

local ledger, number = Ledger.new(), 0
for line in io.lines() do
  number = number + 1
  local fine, refused = pcall(ledger.apply, ledger, line)
  if not fine then
    print(("line %d: %s"):format(number, refused.why))
  end
end
local names, total = {}, 0
for name, amount in pairs(ledger.accounts) do
  names[#names + 1], total = name, total + amount
end
table.sort(names)
for _, name in ipairs(names) do
  print(name .. " " .. ledger.accounts[name])
end
print("total " .. total)
