def boom
  nil.missing
end

boom
