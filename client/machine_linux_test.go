package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client/routing"
	"github.com/mpsocks/mpsocks/conf"
)

// Names that are asked outside of the tunnel are said, and how to have them asked inside.
func TestNamesDoubts(t *testing.T) {
	on, off := conf.DefaultClient().TUN, conf.DefaultClient().TUN
	off.DNS = false
	for _, c := range []struct {
		cfg  *conf.TUN
		text string
		want string
	}{
		{&on, "nameserver 9.9.9.9\nnameserver 192.168.1.1\nnameserver fe80::1%eth0\n", ""},
		{&off, "nameserver 9.9.9.9\n", ""},
		{&off, "# comment\nnameserver 192.168.1.1\nnameserver\nsearch lan\n", "names are asked at 192.168.1.1, in the local network, outside the tunnel"},
		{&off, "nameserver 127.0.0.53\n", "names are asked at 127.0.0.53, on this machine, which may ask further outside the tunnel"},
	} {
		got := fmt.Sprint(namesDoubts(c.cfg, []byte(c.text)))
		if got == "[]" {
			got = ""
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%q: %s, want %q", c.text, got, c.want)
		}
	}
	got := fmt.Sprint(namesDoubts(&on, []byte("nameserver 127.0.0.53\n")))
	if !routing.ResolvedHere() && !strings.Contains(got, "systemd-resolved cannot be told") {
		t.Error(got)
	}
}

// inNamespace runs the test on in a network namespace that goes with its thread, or skips it.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		t.Skip(err)
	}
	if _, err := netns.New(); err != nil {
		t.Skip("a network namespace takes root: ", err)
	}
}

// A device is made at the start, or the client says why it cannot be; what a file must not
// change while it runs is refused, and nothing is left in the end.
func TestMachineDevice(t *testing.T) {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
	inNamespace(t)
	cfg := conf.DefaultClient().TUN
	cfg.Device = "mps0"
	c := &Client{log: nopLog, mark: 77}
	c.machine.client = c
	if err := c.machine.begin(cfg); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	other := &Client{log: nopLog, mark: 77}
	other.machine.client = other
	if err := other.machine.begin(cfg); err == nil || !strings.Contains(err.Error(), "another program has it") {
		t.Errorf("the same device twice: %v", err)
	}
	c.machine.discard()
	// The kernel takes the device a moment after its file.
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = other.machine.begin(cfg); err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("after it was let go: %v", err)
	}
	other.machine.discard()
	bare := &Client{log: nopLog}
	bare.machine.client = bare
	if err := bare.machine.begin(conf.TUN{}); err != nil {
		t.Fatal(err)
	}
	bare.machine.begun = true
	if err := bare.machine.set(cfg); err == nil || !strings.Contains(err.Error(), "restart the client") {
		t.Errorf("a device for subflows without a mark: %v", err)
	}
	if err := bare.machine.set(conf.TUN{}); err != nil {
		t.Error(err)
	}
}
