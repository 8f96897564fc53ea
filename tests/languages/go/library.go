package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	var total int64
	var group sync.WaitGroup
	for i := 0; i < 1000; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			runtime.Gosched()
			atomic.AddInt64(&total, 1)
		}()
	}
	group.Wait()
	fmt.Println("goroutines", total)
	numbers := make(chan int)
	go func() {
		defer close(numbers)
		for i := 0; i < 9; i++ {
			numbers <- i
		}
	}()
	sum := 0
	for n := range numbers {
		sum += n
	}
	fmt.Println("channel", sum)
	said, err := exec.Command("/bin/echo", "child").Output()
	fmt.Println("subprocess", strings.TrimSpace(string(said)), err)
	file, _ := os.CreateTemp("", "note")
	file.WriteString("kept")
	file.Close()
	kept, _ := os.ReadFile(file.Name())
	fmt.Println("tempfile", string(kept))
	text, _ := json.Marshal(map[string]int{"a": 1})
	fmt.Printf("json %s digest %x\n", text, sha256.Sum256([]byte("x")))
	select {
	case <-time.After(5 * time.Millisecond):
		fmt.Println("timer")
	}
	kilobytes := 0
	for i := 0; i < 500; i++ {
		kilobytes += len(make([]byte, 1<<20)) >> 10
	}
	fmt.Println("garbage", kilobytes)
}
