package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/packaging"
)

const (
	serviceUser = "mpsocks"
	// packageUnits is where the Debian package has the units, ownUnits where a program
	// may write its own.
	packageUnits = "/usr/lib/systemd/system"
	ownUnits     = "/etc/systemd/system"
)

// hasSystemd says whether systemd manages this machine's services, also where it does
// not run now, as in an image that is being made.
func hasSystemd() bool {
	_, err := exec.LookPath("systemctl")
	return err == nil
}

// installSystemd puts the configuration into place, writes the unit unless the package
// has, and starts it.
func (s *system) installSystemd(file string, force bool) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("installing a service takes root: sudo mpsocks service install %s -c %s (a user's own one: systemctl --user enable --now mpsocks-client, with the file in ~/.config/mpsocks)", s.kind, file)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(packageUnits, s.name()+".service"))
	own := errors.Is(err, fs.ErrNotExist) // a unit is to be written, with this program's path
	if own {
		if err := servicesReach(self); err != nil {
			return err
		}
	}
	gid, err := ensureUser()
	if err != nil {
		return err
	}
	to := filepath.Join(systemDir, string(s.kind)+".yaml")
	if err := os.MkdirAll(systemDir, 0o750); err != nil {
		return err
	}
	if err := giveGroup(systemDir, gid, 0o750); err != nil {
		return err
	}
	give := func(path string) error { return giveGroup(path, gid, 0o640) }
	copied, err := place(file, to, force, give)
	if err != nil {
		return err
	}
	if copied {
		fmt.Fprintf(s.out, "copied %s to %s\n", file, to)
		if err := s.placeClients(file, to, gid); err != nil {
			return err
		}
	}
	// With its relative names it may mean something else there.
	if err := s.load(to); err != nil {
		return err
	}
	if own {
		if err := s.writeUnit(self); err != nil {
			return err
		}
	}
	if err := systemctl("enable", s.name()+".service"); err != nil {
		return err
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		_, err = fmt.Fprintf(s.out, "%s is enabled; systemd does not run here, so it starts with the machine\n", s.name())
		return err
	}
	if err := systemctl("restart", s.name()+".service"); err != nil {
		return fmt.Errorf("%w; journalctl -u %s says why", err, s.name())
	}
	_, err = fmt.Fprintf(s.out, "%s runs with %s, now and after every start; its log: journalctl -u %s\n", s.name(), to, s.name())
	return err
}

// placeClients copies a server's directory of clients beside its file.
func (s *system) placeClients(file, to string, gid int) error {
	if s.kind != conf.KindServer {
		return nil
	}
	before, err := conf.LoadServer(file)
	if err != nil {
		return err
	}
	from, dir := before.ClientsPath(file), before.ClientsPath(to)
	if from == "" || from == dir {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := giveGroup(dir, gid, 0o750); err != nil {
		return err
	}
	for _, line := range before.Doubts() {
		fmt.Fprintf(s.out, "warning: %s\n", line)
	}
	for i := range before.Clients {
		path := before.Clients[i].File()
		if path == "" {
			continue
		}
		if _, err := place(path, filepath.Join(dir, filepath.Base(path)), true, func(p string) error { return giveGroup(p, gid, 0o640) }); err != nil {
			return err
		}
	}
	return nil
}

// servicesReach says what to do where a service cannot run the program of that path: its unit
// hides users' directories and has a /tmp of its own.
func servicesReach(self string) error {
	for _, hidden := range []string{"/home/", "/root/", "/tmp/"} {
		if strings.HasPrefix(self, hidden) {
			return fmt.Errorf("%s is out of reach of services: sudo install -m 755 %s /usr/local/bin/mpsocks, then run that", self, self)
		}
	}
	return nil
}

// writeUnit writes the package's unit with this program's own path.
func (s *system) writeUnit(self string) error {
	unit := packaging.ClientUnit
	if s.kind == conf.KindServer {
		unit = packaging.ServerUnit
	}
	unit = strings.ReplaceAll(unit, "/usr/bin/mpsocks", self)
	path := filepath.Join(ownUnits, s.name()+".service")
	if err := os.WriteFile(path, []byte(unit), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "wrote %s\n", path)
	return systemctl("daemon-reload")
}

// uninstallSystemd stops and disables the unit, and removes it if it is not the
// package's.
func (s *system) uninstallSystemd() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("this takes root: sudo mpsocks service uninstall %s", s.kind)
	}
	args := []string{"disable"}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		args = append(args, "--now")
	}
	// Its socket would start it again for whoever connects.
	if _, err := os.Stat(filepath.Join(packageUnits, s.name()+".socket")); err == nil {
		args = append(args, s.name()+".socket")
	}
	if err := systemctl(append(args, s.name()+".service")...); err != nil {
		return err
	}
	path := filepath.Join(ownUnits, s.name()+".service")
	if err := os.Remove(path); err == nil {
		fmt.Fprintf(s.out, "removed %s\n", path)
		if err := systemctl("daemon-reload"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(s.out, "%s does not run any more; its configuration in %s stays\n", s.name(), systemDir)
	return err
}

// statusSystemd says how the unit is; one that does not run is an error.
func (s *system) statusSystemd() (string, error) {
	there := false
	for _, dir := range []string{ownUnits, packageUnits, "/lib/systemd/system"} {
		_, err := os.Stat(filepath.Join(dir, s.name()+".service"))
		there = there || err == nil
	}
	if !there {
		return "", fmt.Errorf("%s is not installed: mpsocks service install %s -c FILE", s.name(), s.kind)
	}
	// Its exit code says the same as the word.
	word, _ := exec.Command("systemctl", "is-active", s.name()+".service").Output()
	state := strings.TrimSpace(string(word))
	switch {
	case state == "active":
		return s.name() + " runs", nil
	case state == "":
		state = "systemd does not run here"
	}
	return "", fmt.Errorf("%s is installed and does not run (%s); journalctl -u %s says why", s.name(), state, s.name())
}

// systemctl runs it; what it complains of is the error.
func systemctl(args ...string) error {
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// ensureUser makes the service's user unless there is one, and returns its group.
func ensureUser() (gid int, err error) {
	if u, err := user.Lookup(serviceUser); err == nil {
		return strconv.Atoi(u.Gid)
	}
	cmd := exec.Command("systemd-sysusers", "-")
	cmd.Stdin = strings.NewReader(packaging.SysUsers)
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("make the user %s: %w: %s", serviceUser, err, strings.TrimSpace(string(out)))
	}
	u, err := user.Lookup(serviceUser)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(u.Gid)
}

// giveGroup makes a file root's, and the service's group able to read it.
func giveGroup(path string, gid int, mode fs.FileMode) error {
	if err := os.Chown(path, 0, gid); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
