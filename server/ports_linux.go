package server

import (
	"fmt"
	"os"
)

// systemPorts is how many ports the system has for sockets that ask for none of their own
// (ip(7): ip_local_port_range, for both families).
func systemPorts() int {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return dynamicPorts
	}
	var first, last int
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil || last <= first {
		return dynamicPorts
	}
	return last - first + 1
}
