# A ledger: reads movements of money, refuses what cannot be, prints what is left.
refuse <- function(...) {
  stop(structure(class = c("refused", "error", "condition"), list(message = sprintf(...), call = NULL)))
}

held <- function(accounts, name) {
  if (name %in% names(accounts)) accounts[[name]] else 0
}

deposit <- function(accounts, name, amount) {
  accounts[[name]] <- held(accounts, name) + amount
  accounts
}

withdraw <- function(accounts, name, amount) {
  before <- held(accounts, name)
  if (before < amount) refuse("%s has only %d", name, before)
  accounts[[name]] <- before - amount
  accounts
}

apply_line <- function(accounts, line) {
  words <- strsplit(line, " ")[[1]]
  amount <- suppressWarnings(as.integer(tail(words, 1)))
  switch(paste0(words[1], length(words)),
    deposit3 = deposit(accounts, words[2], amount),
    withdraw3 = withdraw(accounts, words[2], amount),
    transfer4 = deposit(withdraw(accounts, words[2], amount), words[3], amount),
    refuse("cannot read \"%s\"", line)
  )
}

accounts <- list()
input <- file("stdin")
lines <- readLines(input)
close(input)
for (number in seq_along(lines)) {
  accounts <- tryCatch(
    apply_line(accounts, lines[number]),
    refused = function(why) {
      cat(sprintf("line %d: %s\n", number, conditionMessage(why)))
      accounts
    }
  )
}
for (name in sort(names(accounts))) {
  cat(sprintf("%s %d\n", name, accounts[[name]]))
}
cat(sprintf("total %d\n", sum(unlist(accounts))))
