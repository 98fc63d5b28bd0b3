//go:build !unix

package main

import "os"

// reload is nothing here: these attacks are for a server on Linux.
var reload = os.Interrupt
