source("lib/part.r")

args <- commandArgs(trailingOnly = TRUE)
cat(word(), paste(args, collapse = "|"), Sys.getenv("GREETING"))
cat("\n")
