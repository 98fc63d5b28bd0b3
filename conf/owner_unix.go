//go:build unix

package conf

import (
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// owners returns the numbers of a file's owner and group, and whether the system
// tells them.
func owners(info fs.FileInfo) (owner, group int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}

// inGroup says whether this process may have what root lets a group read.
func inGroup(group int) bool {
	all, err := os.Getgroups()
	if err != nil {
		return false
	}
	return mayRead(group, os.Geteuid(), append(all, os.Getegid()))
}

// mayRead: root reads all, and a file of root:root reaches a service by an access list,
// as systemd's credentials do.
func mayRead(group, user int, groups []int) bool {
	return user == 0 || group == 0 || slices.Contains(groups, group)
}
