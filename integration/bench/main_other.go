//go:build !linux

// Command bench measures the whole program on loopback. It counts what Linux
// counts (processor clocks of other processes, /proc) and moves datagrams with
// Linux's calls, so it runs there only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: runs on Linux only")
	os.Exit(1)
}
