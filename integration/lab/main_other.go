//go:build !linux

// Command lab measures mpsocks in emulated networks; it needs the namespaces of Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "lab: network namespaces and TUN devices are needed, that is Linux and root")
	os.Exit(1)
}
