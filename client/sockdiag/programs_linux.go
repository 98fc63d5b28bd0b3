package sockdiag

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// diagInode is where an answer of sock_diag has the socket's inode
// (linux/inet_diag.h: idiag_inode).
const diagInode = diagHeader + 68

// Programs finds the programs that hold the local ends of TCP connections of
// this machine, by (local, remote). Without the privilege to look at another
// user's programs theirs are left out. It reads all of /proc once.
func Programs(conns [][2]netip.AddrPort) map[netip.AddrPort]string {
	out := make(map[netip.AddrPort]string)
	inodes := make(map[string]netip.AddrPort)
	for _, c := range conns {
		if inode, ok := socketInode(c[0], c[1]); ok {
			inodes["socket:["+strconv.FormatUint(uint64(inode), 10)+"]"] = c[0]
		}
	}
	if len(inodes) == 0 {
		return out
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return out
	}
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		dir := filepath.Join("/proc", p.Name(), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // another user's, or gone
		}
		for _, fd := range fds {
			link, err := os.Readlink(filepath.Join(dir, fd.Name()))
			if err != nil {
				continue
			}
			app, wanted := inodes[link]
			if !wanted || out[app] != "" {
				continue
			}
			if name, err := os.ReadFile(filepath.Join("/proc", p.Name(), "comm")); err == nil {
				out[app] = strings.ToValidUTF8(strings.TrimSpace(string(name)), "?")
			}
		}
		if len(out) == len(inodes) {
			break
		}
	}
	return out
}

// socketInode asks the kernel for the inode of a TCP socket of this machine.
func socketInode(local, remote netip.AddrPort) (uint32, bool) {
	answer, ok := diagSocket(unix.IPPROTO_TCP, local, remote)
	if !ok {
		return 0, false
	}
	inode := binary.NativeEndian.Uint32(answer[diagInode:])
	return inode, inode != 0
}
