//go:build unix

package durable

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// mostLinks is how many links a path may have (Linux: MAXSYMLINKS).
const mostLinks = 40

// keepers are the users who may change what is kept.
type keepers []uint32

// safe says who else than root and this process's user can change what they have in a
// directory; nil if nobody can. In one that is shared others can have files of their own, as
// in /tmp. Where this is root that reads, the directory may be some user's.
func safe(dir string, reads bool) (shared bool, err error) {
	who := keepers{0, uint32(os.Geteuid())}
	// In a user namespace without a number for root, root's files have the number for
	// nobody, and the first of them is this.
	if top, err := os.Lstat("/"); err == nil {
		who = append(who, stat(top).Uid)
	}
	if info, err := os.Stat(dir); reads && err == nil && os.Geteuid() == 0 {
		who = append(who, stat(info).Uid)
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return false, err
	}
	return who.walk(path)
}

func stat(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

// walk goes down an absolute path as the kernel does and looks at each directory on the way,
// those behind links too.
func (k keepers) walk(path string) (shared bool, err error) {
	at, links := "/", 0
	shared, err = k.enter(at)
	for rest := strings.Split(path, "/"); err == nil && len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		info, wrong := os.Lstat(next)
		switch {
		case wrong != nil:
			return false, wrong
		case info.Mode()&fs.ModeSymlink == 0:
			at = next
		case shared && !slices.Contains(k, stat(info).Uid):
			return false, fmt.Errorf("%s is a link that %s has made: remove it", next, name(stat(info).Uid))
		default:
			to, wrong := os.Readlink(next)
			if links++; wrong == nil && links > mostLinks {
				wrong = &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
			}
			if wrong != nil {
				return false, wrong
			}
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(strings.Split(to, "/"), rest...)
		}
		shared, err = k.enter(at)
	}
	return shared, err
}

// enter looks at one directory. One that is shared has entries of others, who can neither
// remove nor rename those of the keepers (the sticky bit).
func (k keepers) enter(dir string) (shared bool, err error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return false, err
	}
	st, mode := stat(info), info.Mode()
	everybody := mode.Perm()&0o002 != 0
	group := mode.Perm()&0o020 != 0 && !k.group(st.Gid)
	switch {
	case !mode.IsDir():
		return false, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	case !slices.Contains(k, st.Uid):
		return false, fmt.Errorf("%s belongs to %s, who could change what is there", dir, name(st.Uid))
	case !everybody && !group:
		return false, nil
	case mode&fs.ModeSticky != 0:
		return true, nil
	case everybody:
		return false, fmt.Errorf("everybody can change what is in %s (mode %04o): run chmod go-w %s", dir, mode.Perm(), dir)
	}
	return false, fmt.Errorf("its group can change what is in %s (mode %04o): run chmod g-w %s", dir, mode.Perm(), dir)
}

// group says whether a group is one keeper's own: many systems give each user one, and let it
// write to all that he makes.
func (k keepers) group(gid uint32) bool {
	if slices.Contains(k, gid) {
		return true
	}
	if gid != uint32(os.Getegid()) {
		return false
	}
	g, err := user.LookupGroupId(strconv.FormatUint(uint64(gid), 10))
	u, wrong := user.Current()
	return err == nil && wrong == nil && g.Name == u.Username
}

// kept says why a file of a safe directory does not count: the directory is shared, or was not
// safe when the file came, or somebody has given it away.
func kept(path string, info fs.FileInfo, others fs.FileMode, shared bool) error {
	st := stat(info)
	dir, err := os.Stat(filepath.Dir(path))
	switch mode := info.Mode().Perm(); {
	case err != nil:
		return err
	case st.Uid != 0 && st.Uid != uint32(os.Geteuid()) && st.Uid != stat(dir).Uid:
		return fmt.Errorf("%s belongs to %s: remove it", path, name(st.Uid))
	case shared && st.Nlink > 1: // of some file of this user's, which says something else
		return fmt.Errorf("%s is another file's second name: remove it", path)
	case mode&others&0o022 != 0:
		return fmt.Errorf("others can change %s (mode %04o): remove it", path, mode)
	case mode&others != 0:
		return fmt.Errorf("others can read %s (mode %04o): remove it", path, mode)
	}
	return nil
}

// openFile opens what is there itself, and waits for nobody should it be a pipe by now.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

// name is a user, for people.
func name(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}
