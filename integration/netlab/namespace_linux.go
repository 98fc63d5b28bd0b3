package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namePrefix marks our namespaces among those in runDir; the rest of the name is pid, the process's start time, a
// number and the role.
const (
	namePrefix = "mplab-"
	runDir     = "/run/netns"
)

// Namespace is one side of a lab. Its name works with `ip netns exec` as long as the lab lives.
type Namespace struct {
	Name   string
	handle netns.NsHandle
	links  *netlink.Handle // route netlink inside the namespace
}

// newNamespace makes a named namespace with its loopback up, without leaving any thread in it.
func newNamespace(name string) (*Namespace, error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("current namespace: %w", err)
	}
	defer home.Close()
	handle, err := netns.NewNamed(name)
	if back := netns.Set(home); back != nil {
		return nil, fmt.Errorf("leave new namespace: %w", back) // the thread stays locked and ends with the goroutine
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, fmt.Errorf("new namespace %s: %w", name, err)
	}
	n := &Namespace{Name: name, handle: handle}
	if n.links, err = netlink.NewHandleAt(handle); err != nil {
		n.close()
		return nil, fmt.Errorf("netlink in %s: %w", name, err)
	}
	if err := n.prepare(); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// sysctls are written in each new namespace.
var sysctls = map[string]string{
	"net/ipv4/conf/all/rp_filter":             "0", // replies to a path's address may meet another path's route
	"net/ipv4/conf/default/rp_filter":         "0",
	"net/ipv4/tcp_no_metrics_save":            "1", // no run inherits another's window
	"net/ipv6/conf/default/accept_dad":        "0", // addresses are usable at once
	"net/ipv6/conf/all/keep_addr_on_down":     "1", // a path that comes back has its address
	"net/ipv6/conf/default/keep_addr_on_down": "1",
	"net/mptcp/enabled":                       "1", // for the kernel MPTCP yardstick
}

func (n *Namespace) prepare() error {
	err := n.Do(func() error {
		for key, value := range sysctls {
			err := os.WriteFile("/proc/sys/"+key, []byte(value), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("sysctl %s: %w", key, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	lo, err := n.links.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback in %s: %w", n.Name, err)
	}
	return n.links.LinkSetUp(lo)
}

// Do calls f with the calling thread inside the namespace. Sockets that f makes stay in the namespace wherever they
// are used later; goroutines that f starts are not in it.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("current namespace: %w", err)
	}
	defer func() {
		if netns.Set(home) == nil {
			runtime.UnlockOSThread() // otherwise the thread must end with its goroutine, never serve another
		}
		home.Close()
	}()
	if err := netns.Set(n.handle); err != nil {
		return fmt.Errorf("enter %s: %w", n.Name, err)
	}
	return f()
}

// Start starts the command inside the namespace, at ordinary priority; everything else about it is the caller's.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	return n.Do(func() error {
		if haste != 0 {
			// The child inherits the niceness of the thread that makes it.
			_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
			defer unix.Setpriority(unix.PRIO_PROCESS, 0, haste)
		}
		return cmd.Start()
	})
}

// Run runs the command inside the namespace to its end and wraps what it said into the error.
func (n *Namespace) Run(ctx context.Context, name string, args ...string) error {
	var said strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := n.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}

// Listen is net.ListenConfig.Listen inside the namespace, with MPTCP off (Go's listeners would turn it on).
func (n *Namespace) Listen(addr netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = lc.Listen(context.Background(), "tcp", addr.String())
		return err
	})
	return l, err
}

// ListenUDP binds a UDP socket inside the namespace.
func (n *Namespace) ListenUDP(addr netip.AddrPort) (*net.UDPConn, error) {
	var c *net.UDPConn
	err := n.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		return err
	})
	return c, err
}

// Dial opens a connection inside the namespace, from a local address if one is given.
func (n *Namespace) Dial(ctx context.Context, network string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{}
	if from.IsValid() {
		switch network {
		case "tcp", "tcp4", "tcp6":
			d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
		default:
			d.LocalAddr = &net.UDPAddr{IP: from.AsSlice()}
		}
	}
	var c net.Conn
	err := n.Do(func() (err error) {
		c, err = d.DialContext(ctx, network, to.String())
		return err
	})
	return c, err
}

// close removes the name and lets go of the namespace; it ends with its last process and socket.
func (n *Namespace) close() {
	if n.links != nil {
		n.links.Close()
	}
	n.handle.Close()
	_ = netns.DeleteNamed(n.Name)
}

// ownName is the start of the names of this process's namespaces.
func ownName() string {
	return fmt.Sprintf("%s%d-%s-", namePrefix, os.Getpid(), startTime(strconv.Itoa(os.Getpid())))
}

// sweep removes the namespaces of labs whose process is gone.
func sweep() {
	names, _ := filepath.Glob(filepath.Join(runDir, namePrefix+"*"))
	for _, path := range names {
		name := filepath.Base(path)
		part := strings.Split(strings.TrimPrefix(name, namePrefix), "-")
		if len(part) == 4 && startTime(part[0]) != part[1] {
			_ = netns.DeleteNamed(name)
		}
	}
}

// startTime is field 22 of /proc/PID/stat, which tells apart processes with the same number; "" when there is none.
func startTime(pid string) string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return ""
	}
	// The command in parentheses may hold anything: count from its end, where field 3 begins.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}
