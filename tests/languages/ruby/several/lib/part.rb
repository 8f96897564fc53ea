def word = "part"
