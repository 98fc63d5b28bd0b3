package routing

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/errno"
)

// sockMark is where a socket's mark is in what the kernel gives a program that looks at a
// new socket (linux/bpf.h: struct bpf_sock).
const sockMark = 16

// cgroups are the control groups whose new sockets the kernel marks. The kernel forgets
// them with the process.
type cgroups struct {
	links map[string]link.Link
}

// set has the sockets of these groups and of no others have the mark.
func (c *cgroups) set(list []conf.Exclusion, mark uint32) error {
	keep := map[string]bool{}
	for _, e := range list {
		if e.Cgroup == "" {
			continue
		}
		keep[e.Cgroup] = true
		if c.links[e.Cgroup] != nil {
			continue
		}
		l, err := attach(e.Cgroup, mark)
		if err != nil {
			return fmt.Errorf("tun.exclude: control group %s: %w", e.Cgroup, err)
		}
		if c.links == nil {
			c.links = map[string]link.Link{}
		}
		c.links[e.Cgroup] = l
	}
	var errs []error
	for name, l := range c.links {
		if !keep[name] {
			errs = append(errs, l.Close())
			delete(c.links, name)
		}
	}
	return errors.Join(errs...)
}

// attach marks the sockets that a group's programs open from now on.
func attach(name string, mark uint32) (link.Link, error) {
	root, err := cgroupRoot()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s; it has to be there when the client starts", dir)
	}
	_ = rlimit.RemoveMemlock() // needed before Linux 5.11 only; else the next step says so
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSock, AttachType: ebpf.AttachCGroupInetSockCreate, License: "MIT",
		Instructions: asm.Instructions{
			asm.Mov.Imm32(asm.R2, int32(mark)),
			asm.StoreMem(asm.R1, sockMark, asm.R2, asm.Word),
			asm.Mov.Imm(asm.R0, 1), // let it be
			asm.Return(),
		},
	})
	if err != nil {
		return nil, explainBPF(err)
	}
	defer p.Close() // the link keeps it
	l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: ebpf.AttachCGroupInetSockCreate, Program: p})
	return l, explainBPF(err)
}

func explainBPF(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return errno.Advise(err, "it takes root, or CAP_BPF and CAP_NET_ADMIN, outside of user namespaces")
	}
	return err
}

var errNoCgroups = errors.New("control groups of version 2 are not mounted here")

// cgroupRoot is where control groups of version 2 are.
func cgroupRoot() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && fields[3] == "/" {
			return fields[4], nil
		}
	}
	return "", errNoCgroups
}
