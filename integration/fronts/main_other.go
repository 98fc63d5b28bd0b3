//go:build !linux

package main

import "fmt"

func main() { fmt.Println("fronts: network namespaces are Linux's") }
