def word():
    return "part"
