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

// inGroup says whether this process has the group's rights. Root's group counts:
// systemd's credentials are of root:root and reach a service by an access list.
func inGroup(group int) bool {
	if group == 0 || group == os.Getegid() {
		return true
	}
	all, err := os.Getgroups()
	return err == nil && slices.Contains(all, group)
}
