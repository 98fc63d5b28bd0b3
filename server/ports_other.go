//go:build !linux

package server

// systemPorts is how many ports the system has for sockets that ask for none of their own.
func systemPorts() int { return dynamicPorts }
