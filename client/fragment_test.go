package client

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/udpio"
)

// bare is an association without sockets: what its uplink makes of datagrams
// goes to a fake tunnel.
func bare(t testing.TB, f tunnel) *association {
	c := &Client{tunnel: f, ports: newPorts(), log: nopLog}
	c.downlink.client = c
	var err error
	if c.names, err = newNames(c); err != nil {
		t.Fatal(err)
	}
	a := &association{loop: &loop{}, app: netip.MustParseAddr("127.0.0.1")}
	a.client = c
	at := netip.AddrPortFrom(a.app, 4000)
	a.port.at.Store(&at)
	if err := c.ports.take(&a.innerPort, a); err != nil {
		t.Fatal(err)
	}
	return a
}

// hand gives one datagram to the uplink, as a Loop does.
func (a *association) hand(b []byte) {
	m := []udpio.Message{{Buf: buf.Get(len(b)), Addr: netip.AddrPortFrom(a.app, 4000)}}
	a.port.at.Store(&m[0].Addr)
	copy(m[0].Buf.Bytes(), b)
	a.uplink(new(udpio.Conn), m)
	if m[0].Buf != nil {
		m[0].Buf.Release()
	}
}

func TestFragments(t *testing.T) {
	const to, other = "192.0.2.1:7", "192.0.2.2:7"
	type piece struct {
		frag    uint8
		to      string
		payload string
	}
	for _, tt := range []struct {
		name string
		in   []piece
		want []string
		drop uint64
	}{
		{"two", []piece{{1, to, "a"}, {0x82, to, "b"}}, []string{"ab"}, 0},
		{"one", []piece{{0x81, to, "a"}}, []string{"a"}, 0},
		{"empty ones", []piece{{1, to, ""}, {2, to, ""}, {0x83, to, ""}}, []string{""}, 0},
		{"to a name", []piece{{1, "192.0.2.9.:7", "a"}, {0x82, "192.0.2.9.:7", "b"}}, []string{"ab"}, 0},
		{"skipped", []piece{{1, to, "a"}, {3, to, "c"}, {0x84, to, "d"}}, nil, 3},
		{"again", []piece{{1, to, "a"}, {1, to, "A"}, {0x82, to, "B"}}, []string{"AB"}, 1},
		{"lower", []piece{{1, to, "a"}, {2, to, "b"}, {1, to, "A"}, {0x82, to, "B"}}, []string{"AB"}, 1},
		{"no beginning", []piece{{2, to, "b"}, {0x83, to, "c"}}, nil, 2},
		{"position 0", []piece{{0x80, to, "a"}}, nil, 1},
		{"another destination", []piece{{1, to, "a"}, {0x82, other, "b"}}, nil, 2},
		{"whole one between", []piece{{1, to, "a"}, {0, to, "x"}, {0x82, to, "b"}}, []string{"x"}, 2},
		{"two sequences", []piece{{1, to, "a"}, {0x82, to, "b"}, {1, other, "c"}, {0x82, other, "d"}}, []string{"ab", "cd"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			f := &fakeTunnel{answer: func(_ packet.UDP, payload []byte) [][]byte {
				got = append(got, string(payload))
				return nil
			}}
			a := bare(t, f)
			defer a.client.fragmentsStop()
			for _, p := range tt.in {
				a.hand(datagram(p.frag, p.to, []byte(p.payload)))
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
			if n := a.client.drops[dropFragment].Load(); n != tt.drop {
				t.Errorf("%d drops, want %d", n, tt.drop)
			}
		})
	}
}

func TestFragmentsLargest(t *testing.T) {
	var got []byte
	a := bare(t, &fakeTunnel{answer: func(_ packet.UDP, payload []byte) [][]byte {
		got = bytes.Clone(payload)
		return nil
	}})
	defer a.client.fragmentsStop()
	var want []byte
	for i := range 127 {
		p := bytes.Repeat([]byte{byte(i)}, packet.MaxUDP4Payload/127)
		want = append(want, p...)
		frag := uint8(i + 1)
		if i == 126 {
			frag |= fragmentEnd
		}
		a.hand(datagram(frag, "192.0.2.1:7", p))
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
	// More than any datagram has: abandoned, not grown.
	for i := range 5 {
		a.hand(datagram(uint8(i+1), "192.0.2.1:7", make([]byte, 20000)))
	}
	if a.fragments != nil && a.fragments.b.Len() > packet.MaxUDP6Payload {
		t.Errorf("%d bytes are kept", a.fragments.b.Len())
	}
	if a.client.drops[dropFragment].Load() == 0 {
		t.Error("nothing was dropped")
	}
}

func TestFragmentsExpire(t *testing.T) {
	a := bare(t, &fakeTunnel{})
	defer a.client.fragmentsStop()
	a.hand(datagram(1, "192.0.2.1:7", []byte("a")))
	a.client.fragments.expire()
	if a.fragments == nil {
		t.Fatal("expired at once")
	}
	a.client.fragments.mu.Lock()
	a.client.fragments.active[a] = time.Now().Add(-time.Second)
	a.client.fragments.mu.Unlock()
	a.fragments.until = time.Now().Add(-time.Second)
	a.client.fragments.expire()
	if a.fragments != nil || len(a.client.fragments.active) != 0 {
		t.Error("not expired")
	}
}

// A sequence that begins while others are being given up has a timer, as any other.
func TestFragmentsThatBeginAsOthersExpire(t *testing.T) {
	a := bare(t, &fakeTunnel{})
	fragments := &a.client.fragments
	a.hand(datagram(1, "192.0.2.1:7", []byte("a")))
	fragments.mu.Lock()
	fragments.timer.Stop()
	fragments.active[a] = time.Now().Add(-time.Second)
	fragments.mu.Unlock()
	a.mu.Lock() // a batch is at work
	a.fragments.until = time.Now().Add(-time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		fragments.expire()
	}()
	time.Sleep(20 * time.Millisecond)
	b := &association{loop: a.loop, app: a.app}
	b.client = a.client
	b.hand(datagram(1, "192.0.2.1:7", []byte("b")))
	a.mu.Unlock()
	<-done
	if a.fragments != nil || len(fragments.active) != 1 || !fragments.timer.Stop() {
		t.Errorf("the first is %v, %d are known; nothing looks after the second", a.fragments, len(fragments.active))
	}
	b.mu.Lock()
	b.abandon()
	b.mu.Unlock()
	if n := len(fragments.by); n != 0 {
		t.Errorf("%d holders of none", n)
	}
}

func TestFragmentsBoundedInAll(t *testing.T) {
	first := bare(t, &fakeTunnel{})
	defer first.client.fragmentsStop()
	begin := func(user string) *association {
		a := &association{loop: first.loop, app: first.app}
		a.client, a.holder = first.client, admission.Holder{User: user}
		a.hand(datagram(1, "192.0.2.1:7", []byte("a")))
		return a
	}
	drops := func() uint64 { return first.client.drops[dropFragment].Load() }
	var greedy []*association
	for range maxReassemblies {
		greedy = append(greedy, begin("greedy"))
	}
	if n := drops(); n != maxReassemblies/2 {
		t.Errorf("%d drops of one holder's", n)
	}
	for range maxReassemblies / 2 {
		begin("modest")
	}
	if n := drops(); n != maxReassemblies/2 {
		t.Errorf("another has no room: %d drops", n)
	}
	begin("third")
	if n := drops(); n != maxReassemblies/2+1 {
		t.Errorf("%d drops when all are taken", n)
	}
	for _, a := range greedy {
		a.mu.Lock()
		a.abandon()
		a.mu.Unlock()
	}
	if first.client.fragments.by[admission.Holder{User: "greedy"}] != 0 {
		t.Error("what is over is counted")
	}
	begin("greedy")
	if n := drops(); n != maxReassemblies/2+1 {
		t.Error("what is over takes room")
	}
}

// fragmentsStop ends the timer.
func (c *Client) fragmentsStop() {
	c.fragments.mu.Lock()
	defer c.fragments.mu.Unlock()
	if c.fragments.timer != nil {
		c.fragments.timer.Stop()
	}
}

// FuzzUplink gives an association any sequence of datagrams, each with its
// length in front: nothing may break, and what comes out must be packets (the
// fake tunnel panics on others).
func FuzzUplink(f *testing.F) {
	var seed []byte
	for _, d := range [][]byte{
		datagram(0, "192.0.2.1:7", []byte("x")), datagram(1, "192.0.2.1:7", []byte("a")),
		datagram(0x82, "192.0.2.1:7", []byte("b")), datagram(0, "[2001:db8::1]:7", nil),
		datagram(0, "host.test:7", []byte("y")),
	} {
		seed = append(append(seed, byte(len(d))), d...)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, in []byte) {
		z := &zone{ttl: 1, addrs: map[string][]string{"host.test": {"192.0.2.1"}}}
		tunnel := &fakeTunnel{answer: z.answer}
		a := bare(t, tunnel)
		tunnel.client = a.client
		for len(in) > 0 {
			n := min(int(in[0]), len(in)-1)
			a.hand(in[1 : 1+n])
			in = in[1+n:]
		}
		tunnel.replies = nil // there is no relay socket to answer on
		a.mu.Lock()
		a.abandon()
		a.mu.Unlock()
		a.client.fragmentsStop()
		a.client.names.stop()
	})
}
