package wild

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/status"
)

// The system lets a program open no netlink socket, as Android does and units with RestrictAddressFamilies: what the
// interfaces have is not known, and the tunnel works all the same, without a line each second.
func TestNoNetlink(t *testing.T) {
	t.Parallel()
	for name, paths := range map[string]string{"bound": onePath, "by the default route": `paths: [{name: dsl}]`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCountry(t)
			c.router(1, 1500, "w1")
			client, server := c.keys("", paths)
			c.start("srv", "server", "server", server)
			c.echo("srv")
			c.client = c.denied("cli", "client", "client", client)
			c.works(30*time.Second, far)
			time.Sleep(7 * time.Second)
			c.works(5*time.Second, far)
			if p := c.path("dsl"); p.State != status.Up {
				t.Errorf("the path is %s: %s", p.State, p.Cause)
			}
		})
	}
}

// denied is start of a half that may open no netlink socket.
func (c *country) denied(place, name, word, config string) *half {
	c.t.Helper()
	h := &half{cmd: exec.Command(program, word, "-c", config), log: filepath.Join(c.dir, name+".log")}
	out, err := os.Create(h.log)
	if err != nil {
		c.t.Fatal(err)
	}
	h.cmd.Stdout, h.cmd.Stderr = out, out
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine: nothing takes the filter off
		started <- inside(c.prefix+place, func() error {
			if err := denyNetlink(); err != nil {
				return err
			}
			return h.cmd.Start()
		})
	}()
	if err := <-started; err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		h.cmd.Process.Kill()
		h.cmd.Wait()
		out.Close()
		terse(c.t, name, h.said(c.t))
		if c.t.Failed() {
			c.t.Logf("%s said:\n%s", name, h.said(c.t))
		}
	})
	return h
}

// denyNetlink has socket fail for AF_NETLINK from now on, in this thread and what it starts (seccomp(2)).
func denyNetlink() error {
	const number, first = 0, 16 // offsets in struct seccomp_data of the call and of its first argument
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: k}
	}
	filter := []unix.SockFilter{
		load(number), unless(unix.SYS_SOCKET, 3),
		load(first), unless(unix.AF_NETLINK, 1), // of a little endian machine
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	runtime.KeepAlive(filter)
	return err
}
