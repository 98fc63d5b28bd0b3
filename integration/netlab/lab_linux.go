package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses of the world. They look like any host on the internet: access rules that refuse private or
// documentation prefixes let them pass.
var (
	// World is where echo, web and other destinations live.
	World  = netip.MustParseAddr("45.67.0.1")
	World6 = netip.MustParseAddr("2a0a:4567::1")
	// Server is where the server half lives: one address reachable by every path.
	Server  = netip.MustParseAddr("45.67.0.2")
	Server6 = netip.MustParseAddr("2a0a:4567::2")
)

// Lab is two namespaces and the paths between them. Its methods are safe for concurrent use.
type Lab struct {
	Client *Namespace
	World  *Namespace
	Paths  []*Path

	child   *exec.Cmd
	exited  chan error // one value: how the child ended
	control *net.UnixConn
	mu      sync.Mutex // guards the conversation with the child, by control
	msg     []byte
}

// labs numbers the labs of this process.
var labs atomic.Int64

// Available says why there can be no lab here, or nil.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("TUN devices: %w", err)
	}
	return f.Close()
}

// New builds a lab. Labs left behind by dead processes are removed on the way. The caller closes it.
func New(specs ...PathSpec) (lab *Lab, err error) {
	if os.Getenv(childVariable) != "" {
		return nil, errors.New("netlab: this program does not call netlab.Main first")
	}
	if err := Available(); err != nil {
		return nil, fmt.Errorf("netlab: %w", err)
	}
	sweep()
	l := &Lab{msg: make([]byte, 256<<10)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("netlab: %w", err)
			l.Close()
			lab = nil
		}
	}()
	name := fmt.Sprintf("%s%d-", ownName(), labs.Add(1))
	if l.Client, err = newNamespace(name + "client"); err != nil {
		return l, err
	}
	if l.World, err = newNamespace(name + "world"); err != nil {
		return l, err
	}
	if err = l.World.addLoopback(World, World6, Server, Server6); err != nil {
		return l, err
	}
	var tuns []*os.File
	defer func() {
		for _, f := range tuns {
			f.Close()
		}
	}()
	first := setup{Seed: uint64(time.Now().UnixNano())}
	for i, spec := range specs {
		p, err := newPath(l, i, spec)
		if err != nil {
			return l, fmt.Errorf("path %s: %w", spec.Name, err)
		}
		for _, n := range []*Namespace{l.Client, l.World} {
			f, err := n.openTUN(spec.Name)
			if err != nil {
				return l, fmt.Errorf("path %s: %w", spec.Name, err)
			}
			tuns = append(tuns, f)
		}
		if err := p.configure(); err != nil {
			return l, fmt.Errorf("path %s: %w", spec.Name, err)
		}
		l.Paths = append(l.Paths, p)
		first.Links = append(first.Links, p.up, p.down)
	}
	return l, l.startChild(tuns, &first)
}

// addLoopback gives the loopback device addresses of its own.
func (n *Namespace) addLoopback(addrs ...netip.Addr) error {
	lo, err := n.links.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if err := n.links.AddrReplace(lo, address(a, a.BitLen())); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return nil
}

// openTUN makes the device and returns its queue, blocking still: the child makes it non-blocking.
func (n *Namespace) openTUN(name string) (*os.File, error) {
	var fd int
	err := n.Do(func() (err error) {
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("make device %s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// startChild starts the forwarder and waits until it runs.
func (l *Lab) startChild(tuns []*os.File, first *setup) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "lab"), os.NewFile(uintptr(pair[1]), "forwarder")
	defer theirs.Close()
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		return fmt.Errorf("socket pair: %w", err)
	}
	l.control = c.(*net.UnixConn)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	l.child = exec.Command(self)
	l.child.Env = append(os.Environ(), childVariable+"=1", "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=1", "GOTRACEBACK=all")
	l.child.ExtraFiles = append([]*os.File{theirs}, tuns...)
	l.child.Stdout, l.child.Stderr = os.Stderr, os.Stderr
	if err := l.child.Start(); err != nil {
		l.child = nil
		return fmt.Errorf("start forwarder: %w", err)
	}
	l.exited = make(chan error, 1) // room for the one value, so that the goroutine always ends
	go func() { l.exited <- l.child.Wait() }()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.exchange(first, &reply{})
}

// exchange sends one message to the child and reads the answer. The caller holds mu.
func (l *Lab) exchange(q any, r *reply) error {
	b, err := json.Marshal(q)
	if err != nil {
		return err
	}
	// The child answers within microseconds; five seconds means that it is dead or that Main was never called.
	_ = l.control.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := l.control.Write(b); err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	n, err := l.control.Read(l.msg)
	if err != nil {
		return fmt.Errorf("forwarder does not answer (is netlab.Main called first?): %w", err)
	}
	if err := json.Unmarshal(l.msg[:n], r); err != nil {
		return fmt.Errorf("forwarder: %w", err)
	}
	if r.Error != "" {
		return fmt.Errorf("forwarder: %s", r.Error)
	}
	return nil
}

// stats asks the child for all counters.
func (l *Lab) stats() ([]LinkStats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var r reply
	err := l.exchange(&request{}, &r)
	return r.Stats, err
}

// CPU is the processor time that the forwarder has used so far, which the system under test did not get.
func (l *Lab) CPU() time.Duration { return ProcessCPU(l.child.Process.Pid) }

// Path returns the path with that name, or nil.
func (l *Lab) Path(name string) *Path {
	for _, p := range l.Paths {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Close ends the forwarder and removes devices and namespaces. Programs started in them are the caller's to stop
// first: a namespace lives on, without a name and without paths, until the last one ends.
func (l *Lab) Close() error {
	if l.control != nil {
		l.control.Close()
	}
	if l.child != nil {
		select {
		case <-l.exited:
		case <-time.After(3 * time.Second):
			_ = l.child.Process.Kill()
			<-l.exited
		}
		l.child = nil
	}
	for _, n := range []*Namespace{l.Client, l.World} {
		if n != nil {
			n.close()
		}
	}
	return nil
}

// address is what netlink calls an address with its prefix length.
func address(a netip.Addr, bits int) *netlink.Addr {
	out := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}}
	if a.Is6() {
		out.Flags = unix.IFA_F_NODAD
	}
	return out
}
