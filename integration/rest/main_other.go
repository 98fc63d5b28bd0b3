//go:build !linux

package main

import "fmt"

func main() { fmt.Println("rest: network namespaces are Linux's") }
