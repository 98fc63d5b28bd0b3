package conf

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
)

// Who may read a file with secrets:
//
//	0600, 0400    its owner
//	0640, 0440    also its group, where root owns the file, and this process is root's
//	              or in that group: `chown root:mpsocks`, and what systemd hands over
//	              with LoadCredential= (whose access list shows as group bits)
//
// Nobody else may read it, and nobody but its owner may write it.

// openToOthers says who can read or write a file with secrets who should not, and
// what to do about it; "" if it is as it should be.
func openToOthers(path string, info fs.FileInfo) string {
	mode := info.Mode().Perm()
	owner, group, known := owners(info)
	switch {
	case !known || mode&0o077 == 0:
		return ""
	case mode&0o037 != 0: // anything of others, or more than reading by the group
		return fmt.Sprintf("others can read it (mode %04o): run chmod 600 %s", mode, path)
	case owner != 0:
		return fmt.Sprintf("its group can read it (mode %04o), which only a file of root may allow: run chmod 600 %s", mode, path)
	case !inGroup(group):
		return fmt.Sprintf("a group can read it (mode %04o) that this process is not in: run chmod 600 %s", mode, path)
	}
	return ""
}

// forbidden says that this process may not read a file, and what to do about it: an editor
// or a copy has often given it another owner.
func forbidden(path string) string {
	name, group := strconv.Itoa(os.Geteuid()), strconv.Itoa(os.Getegid())
	if u, err := user.Current(); err == nil {
		name = u.Username
		if g, err := user.LookupGroupId(u.Gid); err == nil {
			group = g.Name
		}
	}
	return fmt.Sprintf("may not be read by user %s: run as root; or, for a service, run chown root:%s %s and chmod 640 %s as root", name, group, path, path)
}
