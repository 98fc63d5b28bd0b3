package server

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// bufferSizes is what the kernel says that a connection's two buffers may be.
func bufferSizes(t *testing.T, c tcpio.Socket) (receive, send int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		receive, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		send, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	return receive, send
}

// TestKernelBuffersAreShared has 150 CONNECTs of one client of which nobody reads
// anything: for one half of them not the application, for the other not the destination.
// What the kernel holds for them, as the kernel says, stays within a few shares, its
// buffers are small, and those that do not move get the least.
func TestKernelBuffersAreShared(t *testing.T) {
	const streams, memory = 150, 64 << 20
	s := testServer(t, func(c *conf.Server) { c.Limits.Memory = memory }, nil)
	p := newPeer(s, "laptop", newFakeSession())
	source, sink := listenTCP(t, "127.0.0.1:0"), listenTCP(t, "127.0.0.1:0")
	serve := func(l net.Listener, f func(net.Conn)) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			if f != nil {
				go f(c)
			}
		}
	}
	endless := func(c net.Conn) {
		_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
		for b := make([]byte, 1<<20); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
	go serve(source, endless)
	go serve(sink, nil)
	for i := range streams {
		to := source
		if i%2 == 1 {
			to = sink
		}
		app, _ := connectTo(t, p, to, "")
		if i%2 == 1 {
			go endless(app)
		}
	}
	all := func() (out []tcpio.Socket) {
		s.exits.mu.Lock()
		defer s.exits.mu.Unlock()
		for _, e := range s.exits.all {
			if c := e.conn(); c != nil {
				out = append(out, c)
			}
		}
		return out
	}
	if n := len(all()); n != streams {
		t.Fatalf("%d of %d are connected", n, streams)
	}
	holds := func() (held int64) {
		for _, c := range all() {
			held += kernelHolds(c)
		}
		return held
	}
	held, still := int64(0), 0
	patiently(t, "it is full", func() bool { // nothing more comes
		was := held
		if held = holds(); held == 0 || held != was {
			still = 0
		}
		still++
		return still > 20
	})
	share := int(kernelShare(memory))
	if most := int64(5*share + 2*streams*kernelLeast); held > most {
		t.Errorf("%d CONNECTs hold %d MiB in the kernel, more than %d", streams, held>>20, most>>20)
	}
	most := 0
	for _, c := range all() {
		r, w := bufferSizes(t, c)
		most = max(most, r, w)
	}
	if most > share {
		t.Errorf("a buffer may be %d KiB, of a share of %d for all", most>>10, share>>10)
	}
	// None of them moves: at the second look those that hold much have the least.
	patiently(t, "those that are stuck are clamped", func() bool {
		for _, c := range all() {
			if r, w := bufferSizes(t, c); kernelHolds(c) > 2*kernelLeast && max(r, w) > kernelLeast {
				return false
			}
		}
		return true
	})
	t.Logf("%d CONNECTs hold %d MiB in the kernel; the largest buffer was %d KiB", streams, held>>20, most>>10)
}

// patiently is eventually for what a busy machine needs long for.
func patiently(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// A buffer has room for several segments, also of a connection within this machine: where it
// has it for one, whoever sends it waits a fifth of a second for each acknowledgement, and a
// download of 16 MiB in a process of 64 MiB took half a minute.
func TestBuffersHoldSeveralSegments(t *testing.T) {
	for memory, want := range map[conf.Memory]int{32 << 20: kernelLeast / bufferSegments, 16 << 30: 1 << 16} {
		s := testServer(t, func(c *conf.Server) { c.Limits.Memory = memory }, nil)
		p := newPeer(s, "laptop", newFakeSession())
		ln := listenTCP(t, "127.0.0.1:0")
		for range 10 {
			_, target, _ := connectThrough(t, p, ln, "")
			raw, err := target.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var info *unix.TCPInfo
			_ = raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
			if err != nil {
				t.Skip(err)
			}
			if n := s.exits.buffers(p.client); n > 0 && int(info.Snd_mss) > min(n/bufferSegments, 1<<16) {
				t.Errorf("with %d MiB: segments of %d bytes for a buffer of %d", memory>>20, info.Snd_mss, n)
			}
			if p.client.streams.used.Load() == 10 && int(info.Snd_mss) > want {
				t.Errorf("with %d MiB the tenth has segments of %d bytes", memory>>20, info.Snd_mss)
			}
		}
	}
}
