package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mpsocks/mpsocks/mux/handshake"
	"github.com/mpsocks/mpsocks/mux/mptcp"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// captureInnerUDP returns a packet of the tunnel with a DNS query or, in the
// other direction, bytes of a given number.
func captureInnerUDP(n int) []byte {
	h := packet.UDP{
		Src: netip.AddrPortFrom(packet.ClientHost4, 40000), Dst: netip.MustParseAddrPort("192.0.2.99:9999"), TTL: 64, ID: 5,
	}
	b := make([]byte, packet.UDP4Overhead+n)
	packet.PutUDP(b, &h)
	return b
}

func captureInnerUDP6(n int) []byte {
	h := packet.UDP{
		Src: netip.AddrPortFrom(packet.ClientHost6, 40000), Dst: netip.MustParseAddrPort("[2001:db8::99]:9999"), TTL: 64, ID: 6,
	}
	b := make([]byte, packet.UDP6Overhead+n)
	packet.PutUDP(b, &h)
	return b
}

func captureInnerTCP(n int) []byte {
	h := packet.TCP{
		Src: netip.AddrPortFrom(packet.ClientHost4, 40001), Dst: netip.AddrPortFrom(packet.ServerHost4, 1080),
		Seq: 1, Ack: 1, Flags: packet.FlagACK | packet.FlagPSH, Window: 1000, TTL: 64, ID: 7,
	}
	b := make([]byte, packet.TCPOverhead(packet.ServerHost4, 0)+n)
	packet.PutTCP(b, &h)
	return b
}

// captureScene writes a whole life of a session, as the client sees it: two
// subflows (IPv4 and IPv6), data both ways, every option, and the close.
func captureScene(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scene.pcapng")
	c, err := begun(path)
	if err != nil {
		t.Fatal(err)
	}
	first := c.Subflow(netip.MustParseAddrPort("192.0.2.10:50001"), netip.MustParseAddrPort("203.0.113.5:7443"), true)
	second := c.Subflow(netip.MustParseAddrPort("[2001:db8:1::10]:50002"), netip.MustParseAddrPort("[2001:db8:2::5]:7443"), true)
	captureHandshake(t, first, func(rw io.ReadWriter) error {
		_, err := handshake.Capable(rw, hsClientKey, false)
		return err
	}, func(rw io.ReadWriter) error {
		o, err := handshake.ReadFirst(rw)
		if err == nil {
			_, err = handshake.AcceptCapable(rw, &o, hsServerKey, false)
		}
		return err
	})
	captureHandshake(t, second, func(rw io.ReadWriter) error {
		return handshake.Join(rw, handshake.Params{Local: hsClientKey, Remote: hsServerKey, AddrID: 1})
	}, func(rw io.ReadWriter) error {
		o, err := handshake.ReadFirst(rw)
		if err == nil {
			err = handshake.AcceptJoin(rw, &o, handshake.Params{Local: hsServerKey, Remote: hsClientKey, Ack: hsClientKey.IDSN() + 1})
		}
		return err
	})

	// Data: the client's on both subflows, the server's on the first.
	dsn, ssn := [2]uint64{hsServerKey.IDSN() + 1, hsClientKey.IDSN() + 1}, map[string]uint32{}
	data := func(name string, f *Subflow, out bool, pkt []byte) {
		mine, theirs := &dsn[0], &dsn[1]
		if out {
			mine, theirs = theirs, mine
		}
		key := fmt.Sprint(name, out)
		if ssn[key] == 0 {
			ssn[key] = 1
		}
		d := mptcp.DSS{
			HasAck: true, Ack8: true, Ack: *theirs, HasMap: true, DSN8: true, DSN: *mine, SSN: ssn[key], Length: uint16(len(pkt)),
		}
		f.Frame(out, d.Append(nil), pkt)
		c.Inner(out, pkt)
		*mine += uint64(len(pkt))
		ssn[key] += uint32(len(pkt))
	}
	data("first", first, true, captureInnerUDP(100))
	data("second", second, true, captureInnerUDP6(1200))
	data("first", first, false, captureInnerTCP(500))
	data("first", first, true, captureInnerUDP(65507)) // does not fit into one segment with its DSS
	data("first", first, true, captureInnerUDP(0))
	ack := mptcp.DSS{HasAck: true, Ack8: true, Ack: dsn[1]}
	first.Frame(false, ack.Append(nil), nil)

	// Several control options in one write.
	addr := netip.MustParseAddr("203.0.113.6")
	add := mptcp.AddAddr{ID: 2, Addr: addr, Port: 7443, HMAC: mptcp.AddAddrHMAC(hsServerKey, hsClientKey, 2, addr, 7443)}
	echo := add
	echo.Echo = true
	first.Frame(false, add.Append(nil), nil)
	ping := mptcp.Experimental{Type: 1}
	ping.SetPayload([]byte("12345678"))
	prio := mptcp.Prio{Backup: true}
	first.Options(true, ping.Append(prio.Append(echo.Append(nil))))
	first.Frame(false, (&mptcp.RemoveAddr{N: 2, IDs: [mptcp.MaxRemove]uint8{2, 3}}).Append(nil), nil)
	first.Frame(false, (&mptcp.Fail{DSN: dsn[1]}).Append(nil), nil)
	second.Frame(false, (&mptcp.Reset{Reason: mptcp.ReasonPerformance}).Append(nil), nil)
	first.Frame(true, (&mptcp.FastClose{Receiver: hsServerKey}).Append(nil), nil)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.Inner(true, captureInnerUDP(1)) // too late: dropped
	if err := c.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	return path
}

// captureHandshake runs both sides of a handshake; the client's is captured.
func captureHandshake(t *testing.T, f *Subflow, client, server func(rw io.ReadWriter) error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	_ = a.SetDeadline(time.Now().Add(20 * time.Second))
	served := make(chan error, 1)
	go func() { served <- server(b) }()
	if err := client(f.Tap(a)); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

// begun is a capture to a file that begins at once.
func begun(path string) (*Capture, error) {
	c := new(Capture)
	return c, c.Begin(path)
}

func TestCapture(t *testing.T) {
	path := captureScene(t)
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others can read the capture: %v, %v", info.Mode(), err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{WantMixedLinkType: true, ErrorOnMismatchingLinkType: false})
	if err != nil {
		t.Fatal(err)
	}
	type flowEnd struct{ src, dst netip.AddrPort }
	next := map[flowEnd]uint32{}
	mapped := map[flowEnd]uint32{}
	var frames, inner []string
	var last time.Time
	for {
		b, info, err := r.ReadPacketData()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if info.CaptureLength != info.Length || info.CaptureLength != len(b) {
			t.Errorf("captured %d of %d bytes, read %d", info.CaptureLength, info.Length, len(b))
		}
		if info.Timestamp.Before(last) || time.Since(info.Timestamp).Abs() > time.Minute {
			t.Errorf("time %v behind %v", info.Timestamp, last)
		}
		last = info.Timestamp
		iface, err := r.Interface(info.InterfaceIndex)
		if err != nil || iface.LinkType != layers.LinkTypeRaw {
			t.Fatalf("interface %+v, %v", iface, err)
		}
		if iface.Name == "inner" {
			var u packet.UDP
			var s packet.TCP
			if p, err := packet.ParseUDP(b, &u); err == nil {
				inner = append(inner, fmt.Sprintf("UDP %d", len(p)))
			} else if p, err := packet.ParseTCP(b, &s); err == nil {
				inner = append(inner, fmt.Sprintf("TCP %d", len(p)))
			} else {
				t.Errorf("inner packet of %d bytes: %v", len(b), err)
			}
			continue
		}
		var h packet.TCP
		payload, err := packet.ParseTCP(b, &h)
		if err != nil {
			t.Fatalf("frame: %v", err)
		}
		end, back := flowEnd{h.Src, h.Dst}, flowEnd{h.Dst, h.Src}
		if seq, ok := next[end]; ok && h.Seq != seq {
			t.Errorf("%v: sequence number %d, want %d", end, h.Seq, seq)
		}
		next[end] = h.Seq + uint32(len(payload))
		if h.Flags&packet.FlagSYN != 0 {
			next[end]++
		}
		if h.Flags&packet.FlagACK != 0 && h.Ack != next[back] {
			t.Errorf("%v: acknowledges %d, want %d", end, h.Ack, next[back])
		}
		frames = append(frames, captureDescribe(t, &h, len(payload), mapped[end]))
		mapped[end] += uint32(len(payload))
	}
	want := []string{
		"SYN MP_CAPABLE/0", "SYN+ACK MP_CAPABLE/0", "ACK MP_CAPABLE/0",
		"SYN MP_JOIN/0", "SYN+ACK MP_JOIN/0", "ACK MP_JOIN/0", "ACK DSS/0",
		"ACK DSS/128", "ACK DSS/1256", "ACK DSS/540",
		"ACK DSS/65467", "ACK none/68", "ACK DSS/28", "ACK DSS/0",
		"ACK ADD_ADDR/0", "ACK ADD_ADDR/0", "ACK MP_PRIO/0", "ACK MP_EXPERIMENTAL/0", "ACK REMOVE_ADDR/0", "ACK MP_FAIL/0",
		"RST+ACK MP_TCPRST/0", "ACK MP_FASTCLOSE/0",
	}
	if got := strings.Join(frames, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("frames:\n%s", got)
	}
	if got := strings.Join(inner, ", "); got != "UDP 100, UDP 1200, TCP 500, UDP 65507, UDP 0" {
		t.Errorf("inner packets: %s", got)
	}
}

// captureDescribe names a segment and checks that its SSN agrees with what the
// direction has mapped before.
func captureDescribe(t *testing.T, h *packet.TCP, payload int, mapped uint32) string {
	t.Helper()
	flags := "none"
	switch h.Flags &^ packet.FlagPSH {
	case packet.FlagSYN:
		flags = "SYN"
	case packet.FlagSYN | packet.FlagACK:
		flags = "SYN+ACK"
	case packet.FlagACK:
		flags = "ACK"
	case packet.FlagRST | packet.FlagACK:
		flags = "RST+ACK"
	}
	name := "none"
	if len(h.Options) > 0 {
		var o mptcp.Option
		n, err := o.Parse(h.Options, false)
		if err != nil {
			t.Fatal(err)
		}
		name = o.Subtype.String()
		rest := h.Options[n:]
		if bytes.Trim(rest, "\x01") != nil && h.Flags&packet.FlagSYN == 0 && len(bytes.Trim(rest, "\x01")) != 0 {
			t.Errorf("% x behind the option", rest)
		}
		if o.Subtype == mptcp.MPDSS && o.DSS.HasMap && o.DSS.SSN != mapped+1 {
			t.Errorf("SSN %d behind %d mapped bytes", o.DSS.SSN, mapped)
		}
	}
	return fmt.Sprintf("%s %s/%d", flags, name, payload)
}

func TestCaptureNil(t *testing.T) {
	var c *Capture
	f := c.Subflow(netip.AddrPort{}, netip.AddrPort{}, true)
	f.Frame(true, nil, nil)
	f.Options(false, []byte{30, 3, 0x50})
	c.Inner(true, nil)
	rw := &bytes.Buffer{}
	if f != nil || f.Tap(rw) != io.ReadWriter(rw) || c.Close() != nil {
		t.Error("a nil Capture captures")
	}
}

// What a hostile peer sends during the handshake must not upset the capture,
// nor must a stream without addresses.
func FuzzCaptureTap(f *testing.F) {
	f.Add([]byte("\x1e\x04\x01\x01"))
	f.Add([]byte("\x1e\x00\x01\x01\x1e"))
	f.Add([]byte("\x1e\x28\x20\x01"))
	f.Add(append([]byte("\x1e\x29\x20"), make([]byte, 40)...)) // longer than a TCP header's options
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := begun(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in, out := c.Subflow(netip.AddrPort{}, netip.AddrPort{}, true), c.Subflow(netip.AddrPort{}, netip.AddrPort{}, false)
		if _, err := io.ReadAll(in.Tap(bytes.NewBuffer(b))); err != nil {
			t.Fatal(err)
		}
		_, _ = out.Tap(&bytes.Buffer{}).Write(b)
	})
}

func TestCaptureErrors(t *testing.T) {
	if _, err := begun(filepath.Join(t.TempDir(), "no", "such", "place")); err == nil || !strings.HasPrefix(err.Error(), "capture: ") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	if _, err := begun("/dev/full"); err == nil {
		t.Error("a full disk was not noticed")
	}
}

// A disk that becomes full ends the capture: that is said once, and known.
func TestCaptureSaysThatItEnds(t *testing.T) {
	c, err := begun(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	var told []error
	c.Tell(func(err error) { told = append(told, err) })
	pkt := make([]byte, 60)
	c.Inner(true, pkt)
	if c.Failed() || len(told) != 0 {
		t.Errorf("failed without a reason: %v", told)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	c.w.Flush()
	c.file.Close()
	c.file = full
	c.w.Reset(full)
	for range 3000 { // more than its buffer
		c.Inner(true, pkt)
	}
	if !c.Failed() || len(told) != 1 || !errors.Is(told[0], syscall.ENOSPC) {
		t.Errorf("failed %v, told %v", c.Failed(), told)
	}
	if err := c.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("at the end: %v", err)
	}
	if c.Failed() {
		t.Error("one that has ended fails")
	}
}

// Wireshark reads the capture: every option by its name, no malformed packet,
// no TCP trouble, good checksums, and the HMAC of ADD_ADDR and MP_JOIN's token.
func TestCaptureTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	path := captureScene(t)
	run := func(args ...string) string {
		cmd := exec.Command(tshark, append([]string{
			"-n", "-r", path, "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // no preferences of the user
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tshark %v: %v\n%s", args, err, &stderr)
		}
		return string(out)
	}
	if bad := run("-Y", "_ws.malformed || _ws.expert.severity >= 6291456 && !tcp.flags.reset == 1"+
		" || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0"+
		" || tcp.analysis.ack_lost_segment || tcp.analysis.lost_segment || tcp.analysis.out_of_order || tcp.analysis.retransmission"+
		" || tcp.analysis.window_full"); bad != "" {
		t.Errorf("tshark finds fault with:\n%s%s", bad, run("-V", "-Y", "_ws.malformed || _ws.expert.severity >= 6291456"))
	}
	text := run("-V")
	for _, name := range []string{
		`Multipath Capable`, `Join Connection`, `Data Sequence Signal`, `Add Address`, `Remove Address`,
		`Change Subflow Priority`, `TCP Fallback`, `Fast Close`, `TCP Reset`,
	} {
		if !strings.Contains(text, "Multipath Transmission Control Protocol: "+name) {
			t.Errorf("tshark names no %s", name)
		}
	}
	// One line per packet; a packet's values of one field are joined by commas.
	// Wireshark derives tokens and IDSNs of its own, and by them it finds that
	// both subflows are of one MPTCP connection.
	count := map[string]int{}
	for line := range strings.Lines(run("-T", "fields", "-e", "frame.interface_name", "-e", "tcp.options.mptcp.subtype",
		"-e", "mptcp.stream", "-e", "tcp.checksum.status", "-e", "udp.checksum.status")) {
		v := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(v) != 5 {
			t.Fatalf("tshark printed %q", line)
		}
		count[v[0]+" subtype "+v[1]+" in connection "+v[2]]++
		count[v[0]+" TCP "+v[3]]++
		count[v[0]+" UDP "+v[4]]++
	}
	for what, want := range map[string]int{
		"frames subtype 0 in connection ":   1, // the SYN has no key yet
		"frames subtype 0 in connection 0":  2,
		"frames subtype 1 in connection 0":  3,
		"frames subtype 2 in connection 0":  7,
		"frames subtype 3 in connection 0":  2,
		"frames subtype 4 in connection 0":  1,
		"frames subtype 5 in connection 0":  1,
		"frames subtype 6 in connection 0":  1,
		"frames subtype 7 in connection 0":  1,
		"frames subtype 8 in connection 0":  1,
		"frames subtype 15 in connection 0": 1,
		"frames TCP 1":                      22, // 1 = good
		"inner TCP 1":                       1,
		"inner UDP 1":                       4,
	} {
		if count[what] != want {
			t.Errorf("%s: %d packets, want %d of %v", what, count[what], want, count)
		}
	}
}

// A capture is never written over what is there, nor through a link.
func TestCaptureLeavesFilesAlone(t *testing.T) {
	dir := t.TempDir()
	file, link, fresh := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "fresh")
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Skip("no links here: ", err)
	}
	for _, path := range []string{file, link} {
		if c, err := begun(path); err == nil {
			c.Close()
			t.Errorf("%s is captured to", path)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "mine" {
		t.Errorf("the file holds %q", b)
	}
	c, err := begun(fresh)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if info, err := os.Stat(fresh); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Keys of the sessions that are drawn.
const (
	hsClientKey mptcp.Key = 0x0102030405060708
	hsServerKey mptcp.Key = 0x1122334455667788
)
