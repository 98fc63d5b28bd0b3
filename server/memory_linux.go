package server

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// machineMemory is what the machine or the container has, bytes.
func machineMemory() int64 {
	var total int64
	var i syscall.Sysinfo_t
	if syscall.Sysinfo(&i) == nil {
		total = int64(i.Totalram) * int64(i.Unit)
	}
	if n := cgroupMemory(); n > 0 && (total == 0 || n < total) {
		total = n
	}
	return total
}

// cgroupMemory is the least memory.max of this process's cgroups (version 2), 0 if there
// is none.
func cgroupMemory() (least int64) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	_, dir, ok := strings.Cut(strings.TrimSpace(string(own)), "0::")
	for ok && dir != "" {
		b, err := os.ReadFile("/sys/fs/cgroup" + strings.TrimSuffix(dir, "/") + "/memory.max")
		if n, e := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && e == nil && (least == 0 || n < least) {
			least = n
		}
		if dir == "/" {
			break
		}
		if dir = dir[:strings.LastIndexByte(dir, '/')]; dir == "" {
			dir = "/"
		}
	}
	return least
}
