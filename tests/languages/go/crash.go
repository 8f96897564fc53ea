package main

func main() {
	var numbers map[string]int
	numbers["nobody"] = 1
}
