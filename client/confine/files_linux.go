package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// putFiles puts files over those of the system that say how names are resolved,
// in the program's mount namespace only, so that no question goes around the
// tunnel: not by a server of the local network, nor by a daemon of the host.
func putFiles(resolvers []netip.Addr) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	ownDevices()
	// The files need a place to be for a moment. Any directory will do that nothing here
	// looks into: nobody else sees this one covered, and there may be no other to write to.
	dir, err := scratch()
	if err != nil {
		return err
	}
	defer unix.Unmount(dir, unix.MNT_DETACH) // what is bound from it stays
	// The name service cache of the host would ask with the host's network; so
	// would its resolver daemon, which is found by a socket.
	for _, dir := range []string{"/run/nscd", "/var/run/nscd", "/run/systemd/resolve", "/run/avahi-daemon"} {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			if err := empty(real); err != nil {
				return err
			}
		}
	}
	if err := cover(dir, "/etc/resolv.conf", resolvConf(resolvers)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: as root, touch it", err)
		}
		return err
	}
	old, err := os.ReadFile("/etc/nsswitch.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the C library then asks DNS and files
	}
	if err != nil {
		return err
	}
	return cover(dir, "/etc/nsswitch.conf", nsswitch(string(old)))
}

// ownDevices has /sys list the network devices of this namespace in the place of the host's,
// for programs that look there and do not ask the kernel. Where the system does not let it,
// as in a container that sees half of /sys, it lists the host's, which are names and no way out.
func ownDevices() {
	for _, dir := range []string{"/tmp", "/home"} { // a place for a moment, as scratch
		const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
		if unix.Mount("mpsocks", dir, "sysfs", flags, "") != nil && unix.Mount("mpsocks", dir, "sysfs", flags|unix.MS_RDONLY, "") != nil {
			continue
		}
		for _, part := range []string{"/devices/virtual/net", "/class/net"} { // links of the second are to the first
			_ = unix.Mount(dir+part, "/sys"+part, "", unix.MS_BIND, "")
		}
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		return
	}
}

// scratch makes a directory of this machine empty and writable.
func scratch() (dir string, err error) {
	for _, dir = range []string{"/sys", "/tmp", "/home"} {
		if err = empty(dir); err == nil {
			return dir, nil
		}
	}
	return "", err
}

// empty covers a directory with an empty one.
func empty(dir string) error {
	if err := unix.Mount("mpsocks", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	return nil
}

// cover binds a file with the given text over one of the system's. What is
// behind a link is covered.
func cover(dir, path, text string) error {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		// A link into one of the directories that are empty now.
		if real, err = os.Readlink(path); err == nil {
			if !filepath.IsAbs(real) {
				real = filepath.Join(filepath.Dir(path), real)
			}
			err = os.WriteFile(real, []byte(text), 0o644)
			if err == nil {
				return nil
			}
		}
	}
	if err != nil {
		return fmt.Errorf("put a file in the place of %s: %w", path, err)
	}
	own := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(own, []byte(text), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(own, real, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("put a file in the place of %s: %w", real, err)
	}
	return nil
}

// resolvConf is a resolv.conf(5) with these servers and no search list: the
// names of the local network are of no use elsewhere.
func resolvConf(servers []netip.Addr) string {
	var b strings.Builder
	b.WriteString("# by mpsocks run: names are resolved at the other end of the tunnel\n")
	for _, a := range servers {
		fmt.Fprintln(&b, "nameserver", a)
	}
	return b.String()
}

// nsswitch is an nsswitch.conf(5) that asks files and DNS for hosts, and for everything
// else what it asked before. Of what else was asked for hosts only the machine's own name
// is left, where it is nobody's but that module's (nss-myhostname(8) asks nobody).
func nsswitch(old string) string {
	lines := strings.Split(strings.TrimRight(old, "\n"), "\n")
	found := false
	for i, line := range lines {
		name, rest, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) != "hosts" {
			continue
		}
		lines[i], found = "hosts: files dns", true
		if slices.Contains(strings.Fields(rest), "myhostname") {
			lines[i] = "hosts: files myhostname dns"
		}
	}
	if !found {
		lines = append(lines, "hosts: files dns")
	}
	return strings.Join(lines, "\n") + "\n"
}
