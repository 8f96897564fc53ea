package main

// #cgo LDFLAGS: -Wl,--version
// int one(void) { return 1; }
import "C"

func main() {
	println(C.one())
}
