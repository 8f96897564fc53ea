return { word = function() return "part" end }
