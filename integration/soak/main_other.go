//go:build !linux

// Command soak needs the namespaces of Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "soak: network namespaces and TUN devices are needed, that is Linux and root")
	os.Exit(1)
}
