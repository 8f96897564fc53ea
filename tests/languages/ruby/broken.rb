def f(
end
