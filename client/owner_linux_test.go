package client

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// sendEnv makes the test binary a program that sends one datagram to a relay and
// waits for the answer.
const (
	sendEnv = "MPSOCKS_TEST_SEND"
	fromEnv = "MPSOCKS_TEST_SEND_FROM" // its address
)

func TestMainOfSender(t *testing.T) {
	relay := os.Getenv(sendEnv)
	if relay == "" {
		t.Skip("only as a child of TestRelayBelongsToTheUser")
	}
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(os.Getenv(fromEnv))}}
	conn, err := d.Dial("udp", relay)
	if err != nil {
		t.Fatal(err)
	}
	conn.Write(datagram(0, "192.0.2.1:7", []byte("from another user")))
	conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	n, err := conn.Read(make([]byte, 100))
	t.Logf("read %d, %v", n, err)
	conn.Close()
}

// publicTest is a copy of this test's program where every user can run it: go test keeps
// its own in a directory that is the builder's alone.
func publicTest(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "client-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "client.test")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{dir, path} { // whatever the umask
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestRelayBelongsToTheUser has another user of the machine send to a relay
// before its owner does, whichever of the machine's addresses the owner has taken.
func TestRelayBelongsToTheUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	self := publicTest(t)
	from := []string{"127.0.0.1", "127.0.0.2"}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			from = append(from, n.IP.String())
			break
		}
	}
	for _, at := range from {
		f := &fakeTunnel{answer: echo}
		c := start(t, f, nil)
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(at)}}
		conn, err := d.Dial("tcp", c.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		relay := relayOf(talk(t, conn, []byte{5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0}, 12)[2:])
		cmd := exec.Command(self, "-test.run=^TestMainOfSender$", "-test.v")
		cmd.Env = []string{sendEnv + "=" + relay.String(), fromEnv + "=" + at}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, fs.ErrPermission) {
			t.Skipf("cannot run as another user: %v", err)
		} else if err != nil {
			t.Fatalf("the other user's program: %v\n%s", err, out)
		}
		if n := c.drops[dropSource].Load(); n != 1 || len(f.sent()) != 0 {
			t.Errorf("another user's datagram from %s: %d dropped, %d sent\n%s", at, n, len(f.sent()), out)
		}
		newApp(t, at, relay).echoes(t, "192.0.2.1:7", []byte("the owner's"))
	}
}
