// Command mpsocks is a SOCKS5 proxy in two halves that talk to each other over
// several network paths at once. Package cli is its command line.
package main

import (
	"os"

	"github.com/mpsocks/mpsocks/cli"
)

// release is set by the Makefile with -ldflags.
var release string

func main() { os.Exit(cli.Main(release, os.Args[1:], os.Stdout, os.Stderr)) }
