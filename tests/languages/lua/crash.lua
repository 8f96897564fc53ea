local function boom()
  error("nobody catches this")
end

boom()
