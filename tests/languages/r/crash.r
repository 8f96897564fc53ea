boom <- function() stop("nobody catches this")
boom()
