//go:build !linux

// Command cmd opens an emulated network for people; it needs the namespaces of Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "netlab: network namespaces and TUN devices are needed, that is Linux and root")
	os.Exit(1)
}
