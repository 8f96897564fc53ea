package lib

// Word is one.
func Word() string { return "part" }
