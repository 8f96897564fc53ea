let number : int = "not a number"
