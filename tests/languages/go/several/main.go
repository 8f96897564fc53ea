package main

import (
	"fmt"
	"os"
	"strings"

	"example.org/demo/lib"
)

func main() {
	fmt.Println(lib.Word(), joined(os.Args[1:]), os.Getenv("GREETING"))
}

func joined(words []string) string { return strings.Join(words, separator) }
