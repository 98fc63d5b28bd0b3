package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
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

// A device that breaks and cannot be made anew is tried again and again, and when it is not
// wanted any more its routing goes too, which holds the traffic until then.
func TestMachineDeviceThatStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inNamespace(t)
		// As routing leaves it: 109 is its protocol.
		if out, err := exec.Command("ip", "rule", "add", "priority", "10950", "lookup", "10952", "protocol", "109").CombinedOutput(); err != nil {
			t.Skipf("%v: %s", err, out)
		}
		var said bytes.Buffer
		c := &Client{log: zerolog.New(&said)}
		m := &c.machine
		m.client, m.changed = c, make(chan struct{}, 1)
		m.cfg.Device = "a-name-that-no-device-can-have"
		d := &machineDevice{name: m.cfg.Device, routing: routing.New(m.cfg.Device), done: make(chan struct{})}
		d.life, d.end = context.WithCancel(context.Background())
		d.led.Store(true)
		m.device = d // whose file is gone
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			defer cancel()
			time.Sleep(complainEvery + 5*lookPause)
			m.mu.Lock()
			if m.device != d || !d.failed {
				t.Errorf("%v is not tried again", m.device)
			}
			m.mu.Unlock()
			if err := m.set(conf.TUN{}); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * lookPause)
		}()
		if err := m.run(ctx); err != nil {
			t.Error(err)
		}
		if n := bytes.Count(said.Bytes(), []byte(`"level":"error"`)); n != 3 { // it broke; it cannot be made, and still cannot
			t.Errorf("%d lines are said in %v: %s", n, complainEvery, said.Bytes())
		}
		if left, err := routing.Left(); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

// deviceOf is a device that nobody carries yet, of a file that is none.
func deviceOf(t *testing.T, name string) *machineDevice {
	t.Helper()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	d := &machineDevice{name: name, file: file, routing: routing.New(name), done: make(chan struct{})}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// Two configurations may follow each other before the device of the first is carried: nobody
// waits for its end then, which does not come, and its file is closed.
func TestMachineDeviceThatIsNotCarried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inNamespace(t)
		c := &Client{log: nopLog}
		m := &c.machine
		m.client, m.changed = c, make(chan struct{}, 1)
		m.next() // run has begun, without a device
		d := deviceOf(t, "mps0")
		m.device = d
		if err := m.set(conf.TUN{}); err != nil {
			t.Fatal(err)
		}
		if err := d.file.Close(); !errors.Is(err, os.ErrClosed) || d.life.Err() == nil {
			t.Errorf("the device is open: %v, %v", err, d.life.Err())
		}
	})
}

// The routing of a device that broke goes where another one is wanted by then, too.
func TestMachineDeviceThatIsReplacedWhileBroken(t *testing.T) {
	inNamespace(t)
	if out, err := exec.Command("ip", "rule", "add", "priority", "10950", "lookup", "10952", "protocol", "109").CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	c := &Client{log: nopLog}
	m := &c.machine
	m.client, m.device = c, deviceOf(t, "mps1")
	defer m.device.close()
	broken := deviceOf(t, "mps0")
	broken.close()
	m.renew(broken)
	if left, err := routing.Left(); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
