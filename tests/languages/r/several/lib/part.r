word <- function() "part"
