package interop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestPySocks runs testdata/pysocks.py: PySocks over TCP and UDP, by address
// and by name, and DNS queries of its own making.
func TestPySocks(t *testing.T) {
	if _, err := os.Stat(python); err != nil {
		t.Skipf("%s is missing: make interop installs it with python3-socks from Debian where it may", python)
	}
	if err := exec.Command(python, "-c", "import socks").Run(); err != nil {
		t.Skip("python3-socks is not installed: make interop installs it from Debian where it may")
	}
	host, port, err := net.SplitHostPort(pair.Proxy())
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"testdata/pysocks.py", host, port, tcpEcho(t, "tcp4", "127.0.0.1:0"), udpEcho(t, "udp4", "127.0.0.1:0")}
	dns := fmt.Sprint(dnsmasq(t))
	args = append(args, dns, knownName, knownAddr.String())
	t.Logf("%s", output(t, time.Minute, python, args...))
}
