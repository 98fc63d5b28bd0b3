//go:build unix

package main

import "syscall"

const reload = syscall.SIGHUP
