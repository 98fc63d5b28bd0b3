package server

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// machineMemory is what the machine, or what this process may have of it, has, bytes,
// and whose limit that is in words.
func machineMemory() (total int64, whose string) {
	var i syscall.Sysinfo_t
	if syscall.Sysinfo(&i) == nil {
		total = int64(i.Totalram) * int64(i.Unit)
	}
	if n, file := cgroupMemory(os.DirFS("/")); n > 0 && (total == 0 || n < total) {
		return n, "the control group's, /" + file
	}
	return total, "this machine's"
}

// A hierarchy is a tree of control groups, and where this process stands in it.
type hierarchy struct {
	limits   []string // the files with limits
	point    string   // where it is mounted, without the leading slash
	root     string   // which group is seen there
	own      string   // this process's
	wherever bool     // the process's group is known
}

// cgroupMemory is the least limit for memory of this process's control groups and of all
// above them, of version 1 and 2, and the file that says so; 0 where there is none.
func cgroupMemory(root fs.FS) (least int64, file string) {
	for _, h := range hierarchies(root) {
		if !h.wherever {
			continue
		}
		// In a container the mount may show a part of the tree only: what is above it
		// cannot be seen, and what is not below it is what is mounted there.
		dir := "/"
		if below, ok := strings.CutPrefix(h.own, strings.TrimSuffix(h.root, "/")); ok && (below == "" || below[0] == '/') {
			dir = path.Clean("/" + below)
		}
		for {
			for _, name := range h.limits {
				at := strings.TrimPrefix(path.Join(h.point, dir, name), "/")
				b, err := fs.ReadFile(root, at)
				if err != nil {
					continue
				}
				// "max" of version 2 is no number; that of version 1 is one which no
				// machine has.
				if n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64); err == nil && n > 0 && (least == 0 || n < least) {
					least, file = n, at
				}
			}
			if dir == "/" {
				break
			}
			dir = path.Dir(dir)
		}
	}
	return least, file
}

// hierarchies are those that limit memory (cgroups(7), proc_pid_mountinfo(5)).
func hierarchies(root fs.FS) []hierarchy {
	var all []hierarchy
	mounts, _ := fs.ReadFile(root, "proc/self/mountinfo")
	for s := bufio.NewScanner(bytes.NewReader(mounts)); s.Scan(); {
		front, back, ok := strings.Cut(s.Text(), " - ")
		f, b := strings.Fields(front), strings.Fields(back)
		if !ok || len(f) < 5 || len(b) < 3 {
			continue
		}
		h := hierarchy{root: unescape.Replace(f[3]), point: strings.TrimPrefix(unescape.Replace(f[4]), "/")}
		switch {
		case b[0] == "cgroup2":
			h.limits = []string{"memory.max", "memory.high"}
		case b[0] == "cgroup" && slices.Contains(strings.Split(b[2], ","), "memory"):
			h.limits = []string{"memory.limit_in_bytes"}
		default:
			continue
		}
		all = append(all, h)
	}
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for s := bufio.NewScanner(bytes.NewReader(groups)); s.Scan(); {
		f := strings.SplitN(s.Text(), ":", 3)
		if len(f) != 3 {
			continue
		}
		two := f[0] == "0" && f[1] == ""
		for i := range all {
			h := &all[i]
			if two == (len(h.limits) == 2) && (two || slices.Contains(strings.Split(f[1], ","), "memory")) {
				h.own, h.wherever = f[2], true
			}
		}
	}
	return all
}

// unescape undoes what mountinfo does to names.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
