package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// Programs with one fixed UDP destination, behind a forward of the client
// (docs/recipes/forwards.md).

// machines are two network namespaces that know nothing of each other.
type machines struct {
	t     *testing.T
	names [2]string
}

func newMachines(t *testing.T) *machines {
	t.Helper()
	need(t, "ip")
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root")
	}
	m := &machines{t: t}
	for i := range m.names {
		m.names[i] = "mpsvpn-" + unique()
		if out, err := exec.Command("ip", "netns", "add", m.names[i]).CombinedOutput(); err != nil {
			t.Skipf("ip netns add: %s", out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", m.names[i]).Run() })
	}
	return m
}

// take moves a VPN's device into a machine and gives it an address there; the VPN's own
// sockets stay where they are.
func (m *machines) take(i int, device string) {
	m.t.Helper()
	for end := time.Now().Add(10 * time.Second); exec.Command("ip", "link", "show", device).Run() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("%s does not appear", device)
		}
	}
	m.ip("link set %s netns %s", device, m.names[i])
	m.ip("-n %s addr add 10.99.7.%d/24 dev %s", m.names[i], i+1, device)
	m.ip("-n %s link set %s mtu 1420 up", m.names[i], device)
}

func (m *machines) ip(format string, args ...any) {
	m.t.Helper()
	if out, err := exec.Command("ip", strings.Fields(fmt.Sprintf(format, args...))...).CombinedOutput(); err != nil {
		m.t.Fatalf("ip %s: %s", fmt.Sprintf(format, args...), out)
	}
}

// inside runs f in a machine; sockets that it makes stay there.
func (m *machines) inside(i int, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		h, err := netns.GetFromName(m.names[i])
		if err == nil {
			defer h.Close()
			err = netns.Set(h)
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// talk sends datagrams that fill the device's MTU, and a megabyte over TCP, from the
// first machine to the second and back.
func (m *machines) talk() {
	m.t.Helper()
	const at = "10.99.7.2:7"
	var udp net.PacketConn
	var tcp net.Listener
	if err := m.inside(1, func() (err error) {
		if udp, err = net.ListenPacket("udp4", at); err == nil {
			tcp, err = net.Listen("tcp4", at)
		}
		return err
	}); err != nil {
		m.t.Fatal(err)
	}
	defer udp.Close()
	defer tcp.Close()
	go echoDatagrams(udp) // ends with the socket
	var echoes sync.WaitGroup
	accepted := make(chan net.Conn, 16) // the VPN may be gone before their ends are heard of
	defer func() {
		tcp.Close()
		for c := range accepted {
			c.Close()
		}
		echoes.Wait()
	}()
	go func() { // ends with the listener
		defer close(accepted)
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			accepted <- c
			echoes.Go(func() { _, _ = io.Copy(c, c) })
		}
	}()
	var datagrams, stream net.Conn
	end := time.Now().Add(20 * time.Second) // for the VPN's own handshake
	for {
		err := m.inside(0, func() (err error) {
			datagrams, err = net.Dial("udp4", at)
			return err
		})
		if err != nil {
			m.t.Fatal(err)
		}
		if answered(datagrams, bytes.Repeat([]byte("m"), 1420-28), time.Second) == nil {
			break
		}
		datagrams.Close()
		if time.Now().After(end) {
			m.t.Fatal("nothing comes back through the VPN")
		}
	}
	defer datagrams.Close()
	lost := 0
	for i := range 100 {
		if answered(datagrams, bytes.Repeat([]byte{byte(i)}, 1420-28), 3*time.Second) != nil {
			lost++
		}
	}
	if lost > 0 {
		m.t.Errorf("%d of 100 datagrams of the VPN's MTU are lost", lost)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	if err := m.inside(0, func() (err error) {
		stream, err = new(net.Dialer).DialContext(ctx, "tcp4", at)
		return err
	}); err != nil {
		m.t.Fatal(err)
	}
	defer stream.Close()
	body, _ := noise(1 << 20)
	_ = stream.SetDeadline(time.Now().Add(30 * time.Second))
	go func() { _, _ = stream.Write(body) }() // an error shows below
	got := make([]byte, len(body))
	if _, err := io.ReadFull(stream, got); err != nil || !bytes.Equal(got, body) {
		m.t.Errorf("a megabyte comes back changed, or not: %v", err)
	}
}

// answered sends a datagram and waits until it comes back.
func answered(c net.Conn, payload []byte, limit time.Duration) error {
	if _, err := c.Write(payload); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(limit))
	b := make([]byte, 65536)
	for {
		n, err := c.Read(b)
		if err != nil {
			return err
		}
		if bytes.Equal(b[:n], payload) {
			return nil
		}
	}
}

// wireguardKeys makes the keys of two peers; wg is the program.
func wireguardKeys(t *testing.T, wg string) (private, public [2]string) {
	t.Helper()
	for i := range private {
		private[i] = strings.TrimSpace(string(output(t, 5*time.Second, wg, "genkey")))
		cmd := exec.Command(wg, "pubkey")
		cmd.Stdin = strings.NewReader(private[i])
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		public[i] = strings.TrimSpace(string(out))
	}
	return private, public
}

// TestWireGuard has a WireGuard peer behind a forward: the user-space WireGuard, so that
// the kernel needs no module.
func TestWireGuard(t *testing.T) {
	wireguard, wg := need(t, "wireguard-go"), need(t, "wg")
	recipe(t, "forwards.md", "Endpoint = 127.0.0.1:51820", "MTU = 1420")
	m := newMachines(t)
	from, to := forwarded(t)
	private, public := wireguardKeys(t, wg)
	for i := range private {
		device := fmt.Sprintf("mpswg%d", i)
		p, err := halves.Run(wireguard, "--foreground", device)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.Kill()
			_ = os.Remove("/var/run/wireguard/" + device + ".sock")
			if t.Failed() {
				t.Logf("%s said:\n%s", device, p.Output())
			}
		})
		text := fmt.Sprintf("[Interface]\nPrivateKey = %s\n", private[i])
		if i == 1 {
			text += fmt.Sprintf("ListenPort = %d\n", to.Port())
		}
		text += fmt.Sprintf("[Peer]\nPublicKey = %s\nAllowedIPs = 10.99.7.0/24\n", public[1-i])
		if i == 0 {
			text += fmt.Sprintf("Endpoint = %s\n", from)
		}
		config := file(t, "wg.conf", text)
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			out, err := exec.Command(wg, "setconf", device, config).CombinedOutput()
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Skipf("wireguard-go does not come up here: %s\n%s", out, p.Output())
			}
		}
		m.take(i, device)
	}
	m.talk()
}

// ownCertificate makes a key and a certificate of its own, as files, with the
// certificate's fingerprint as OpenVPN writes it.
func ownCertificate(t *testing.T) (cert, key, fingerprint string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, b := range sha256.Sum256(der) {
		parts = append(parts, fmt.Sprintf("%02X", b))
	}
	return file(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))),
		file(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))), strings.Join(parts, ":")
}

// TestOpenVPN has an OpenVPN client behind a forward.
func TestOpenVPN(t *testing.T) {
	openvpn := need(t, "/usr/sbin/openvpn")
	recipe(t, "forwards.md", "remote 127.0.0.1 1194 udp")
	m := newMachines(t)
	from, to := forwarded(t)
	var certs, keys, prints [2]string
	for i := range certs {
		certs[i], keys[i], prints[i] = ownCertificate(t)
	}
	for _, i := range [2]int{1, 0} { // who waits first, so that the first question finds it
		device := fmt.Sprintf("mpsovpn%d", i)
		args := []string{
			"--dev", device, "--dev-type", "tun", "--topology", "subnet", "--ifconfig", fmt.Sprintf("10.99.7.%d", i+1), "255.255.255.0", "--ifconfig-noexec",
			"--cert", certs[i], "--key", keys[i], "--peer-fingerprint", prints[1-i], "--proto", "udp4", "--persist-tun", "--connect-retry", "1",
		}
		if i == 0 {
			args = append(args, "--remote", "127.0.0.1", fmt.Sprint(from.Port()), "udp4", "--nobind", "--tls-client")
		} else {
			args = append(args, "--local", "127.0.0.1", "--lport", fmt.Sprint(to.Port()), "--tls-server", "--dh", "none")
		}
		p, err := halves.Run(openvpn, args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			p.Kill()
			if t.Failed() {
				t.Logf("%s said:\n%s", device, p.Output())
			}
		})
		m.take(i, device)
	}
	m.talk()
}
