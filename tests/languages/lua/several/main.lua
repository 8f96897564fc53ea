package.path = "./?.lua;" .. package.path
local part = require("lib.part")

print(part.word() .. " " .. table.concat(arg, "|") .. " " .. os.getenv("GREETING"))
