local function f(
end
