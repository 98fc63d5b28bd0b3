package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is the hidden subcommand that Start runs this program with: its main
// function has to call Inside then, with what follows it on the command line.
const Command = "run-inside"

// Program is what is to run, and how.
type Program struct {
	Path      string   // of the program; absolute
	Args      []string `json:"-"` // with its name first
	Resolvers []netip.Addr
	Local4    netip.Prefix // addresses of the device
	Local6    netip.Prefix
	MTU       int
	Loopback  []uint16 // TCP ports at the caller's loopback that the program reaches at its own
}

// Running is a program that has been started and waits for Go.
type Running struct {
	Device *os.File       // the TUN device; the owner closes it
	Locals []net.Listener // of Loopback, in its order, inside the program's namespace
	// Namespace names the program's network, as /proc/PID/ns/net does; "" = not known.
	Namespace string

	cmd    *exec.Cmd
	socket *os.File
	fd     int // of socket
}

// order is what the program's process is told.
type order struct {
	Program
	Drop bool // give up privileges before the program runs
}

// ready is what the program's process says when all is there; anything else is
// why not.
const ready = "ready"

// maxMessage bounds what the two processes tell each other.
const maxMessage = 64 << 10

// Start makes the namespaces and the device. Errors say what the system lacks.
func Start(p Program) (*Running, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	r := &Running{socket: os.NewFile(uintptr(pair[0]), "run"), fd: pair[0]}
	// What the caller has inherited is the program's, whatever its numbers: a make's jobs, a
	// shell's <(...). Nothing of ours may be in the place of one, as Cmd.ExtraFiles would.
	if _, err := unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0); err != nil {
		unix.Close(pair[1])
		r.discard()
		return nil, fmt.Errorf("socket pair: %w", err)
	}
	r.cmd = exec.Command("/proc/self/exe", append([]string{Command, strconv.Itoa(pair[1])}, p.Args...)...)
	r.cmd.Args[0] = "mpsocks"
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// What the program leaves behind is to be known: its network must not end before it.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	uid, gid := os.Geteuid(), os.Getegid()
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	if uid != 0 {
		// The same user and group inside. Other groups count as before, though
		// they have no names there.
		r.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		r.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		r.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		r.cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_NET_BIND_SERVICE}
	}
	err = r.cmd.Start()
	unix.Close(pair[1]) // else the end of the program's process, which has it now, would not be heard
	if err != nil {
		r.discard()
		return nil, explainStart(err)
	}
	if err := r.setUp(order{Program: p, Drop: uid != 0}); err != nil {
		r.Kill()
		return nil, err
	}
	return r, nil
}

// setUp tells the program's process what to do and takes the device.
func (r *Running) setUp(o order) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if _, err := r.socket.Write(b); err != nil {
		return fmt.Errorf("start the program: %w", err)
	}
	text, files, err := receive(r.fd, maxMessage, 1+len(o.Loopback))
	if err != nil {
		return fmt.Errorf("start the program: %w", err)
	}
	if string(text) != ready || len(files) != 1+len(o.Loopback) {
		for _, f := range files {
			f.Close()
		}
		return errors.New(string(text))
	}
	r.Device = files[0]
	r.Namespace, _ = os.Readlink(fmt.Sprintf("/proc/%d/ns/net", r.cmd.Process.Pid)) // "" may be
	for _, f := range files[1:] {
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return err
		}
		r.Locals = append(r.Locals, l)
	}
	return nil
}

// Go lets the program begin.
func (r *Running) Go() error {
	defer r.socket.Close()
	_, err := r.socket.Write([]byte("go"))
	return err
}

// Signal sends a signal to the program.
func (r *Running) Signal(s os.Signal) { r.cmd.Process.Signal(s) }

// Wait returns how the program ended. It frees what Start took, but for Device
// and Locals. It takes note of every child of this process, for those that the program
// leaves behind are this one's then (see Left).
func (r *Running) Wait() (status syscall.WaitStatus, err error) {
	defer r.discard()
	for {
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case pid == r.cmd.Process.Pid:
			r.cmd.Process.Release()
			return status, nil
		}
	}
}

// Left lists the processes that the program has left behind, as far as they are known: its
// children, and those of theirs whose parents have ended. It is for after Wait.
func (r *Running) Left() (pids []int) {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err != nil && err != syscall.EINTR {
			return nil // ECHILD
		}
		if pid == 0 && err == nil {
			break
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children") // the pattern is right
	for _, t := range tasks {
		b, _ := os.ReadFile(t) // the thread may have ended: another one has its children
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Kill ends the program, also before Go.
func (r *Running) Kill() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
	r.discard()
}

func (r *Running) discard() { r.socket.Close() }

// explainStart says what to do where the kernel allows no namespaces.
func explainStart(err error) error {
	switch {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		what := "this system lets ordinary users make no user namespaces"
		if b, _ := os.ReadFile("/proc/sys/kernel/unprivileged_userns_clone"); strings.TrimSpace(string(b)) == "0" {
			return fmt.Errorf("%s: as root, sysctl kernel.unprivileged_userns_clone=1", what)
		}
		if b, _ := os.ReadFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"); strings.TrimSpace(string(b)) == "1" {
			return fmt.Errorf("%s but for programs with an AppArmor profile: install the package's, or as root, sysctl kernel.apparmor_restrict_unprivileged_userns=0", what)
		}
		return fmt.Errorf("%s (%w): run this as root", what, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("no more user namespaces are allowed here: as root, sysctl user.max_user_namespaces=10000 (%w)", err)
	case errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("this kernel has no user or network namespaces (%w)", err)
	}
	return fmt.Errorf("start the program: %w", err)
}
