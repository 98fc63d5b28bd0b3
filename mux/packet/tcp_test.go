package packet

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket/layers"
)

func buildTCP(h *TCP, n int) []byte {
	head := TCPOverhead(h.Dst.Addr(), len(h.Options))
	if h.Bare {
		head -= FragmentHeaderLen
	}
	b := append(bytes.Repeat([]byte{0xEE}, head), randomBytes(n)...)
	PutTCP(b, h)
	return b
}

func TestTCP(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
		for _, n := range []int{0, 1, 2, 1400, 16384, 65000} {
			for _, options := range []string{"", "\x01", "\x1e\x04\x01\x01", "\x1e\x03\x51", string(bytes.Repeat([]byte{1}, 40))} {
				for _, bare := range []bool{false, true} {
					if bare && ends[1] != remote6 {
						continue // IPv4 has no fragment header to leave out
					}
					t.Run(fmt.Sprintf("%v/%d/%d/%v", ends[1].Addr(), n, len(options), bare), func(t *testing.T) {
						v6 := ends[1] == remote6
						h := TCP{
							Src: ends[0], Dst: ends[1], Seq: 0xFFFFFFF0, Ack: 0x01020304, Flags: FlagACK | FlagPSH,
							Window: 0xABCD, TOS: 0x10, TTL: 64, ID: 0x9876, Bare: bare, Options: []byte(options),
						}
						b := buildTCP(&h, n)
						o := understand(t, b)
						if o.tcp == nil || !o.checksumOK || !o.tcp.ACK || !o.tcp.PSH || o.tcp.SYN || o.tcp.FIN || o.tcp.RST ||
							o.tcp.Seq != 0xFFFFFFF0 || o.tcp.Ack != 0x01020304 || o.tcp.Window != 0xABCD || o.tcp.Urgent != 0 {
							t.Fatalf("gopacket read %+v, checksum good: %v", o.tcp, o.checksumOK)
						}
						if o.tos != 0x10 || o.ttl != 64 || o.bare != (bare || !v6) || !bytes.Equal(o.payload, randomBytes(n)) {
							t.Errorf("gopacket read %+v", o)
						}
						var got TCP
						payload, err := ParseTCP(b, &got)
						if err != nil || !bytes.Equal(payload, randomBytes(n)) {
							t.Fatalf("ParseTCP: %v", err)
						}
						want := h
						for len(want.Options)%4 != 0 {
							want.Options = append(want.Options, 1)
						}
						if bare {
							want.ID = 0
						}
						if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
							t.Errorf("ParseTCP (-want +got):\n%s", diff)
						}
					})
				}
			}
		}
	}
}

func TestParseTCPFromOracle(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
		tcp := &layers.TCP{
			SrcPort: layers.TCPPort(ends[0].Port()), DstPort: layers.TCPPort(ends[1].Port()),
			Seq: 5, Ack: 6, SYN: true, ECE: true, CWR: true, Window: 512,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}}},
		}
		b := serialize(t, ends[0].Addr(), ends[1].Addr(), 3, 255, 77, false, tcp, []byte("payload"))
		var h TCP
		payload, err := ParseTCP(b, &h)
		if err != nil || string(payload) != "payload" {
			t.Fatalf("%v: %q, %v", ends[1], payload, err)
		}
		want := TCP{
			Src: ends[0], Dst: ends[1], Seq: 5, Ack: 6, Flags: FlagSYN | FlagECE | FlagCWR, Window: 512,
			TOS: 3, TTL: 255, ID: 77, Options: []byte{2, 4, 5, 180},
		}
		if diff := cmp.Diff(want, h, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%v (-want +got):\n%s", ends[1], diff)
		}
	}
}

func TestParseTCPRefuses(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
		at := TCPOverhead(ends[1].Addr(), 0) - TCPHeaderLen
		for _, c := range []struct {
			name   string
			change func(b []byte) []byte
			want   error
		}{
			{"data offset of 4 words", func(b []byte) []byte { b[at+12] = 0x40; return b }, ErrLength},
			{"data offset beyond the end", func(b []byte) []byte { b[at+12] = 0xF0; return b }, ErrLength},
			{"payload bit", func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b }, nil}, // TLS has looked
			{"cut", func(b []byte) []byte { return b[:len(b)-2] }, ErrLength},
			{"UDP", func(b []byte) []byte { return buildUDP(ends[0], ends[1], 40) }, ErrProtocol},
		} {
			var h TCP
			if _, err := ParseTCP(c.change(buildTCP(&TCP{Src: ends[0], Dst: ends[1]}, 10)), &h); err != c.want {
				t.Errorf("%v, %s: %v, want %v", ends[1], c.name, err, c.want)
			}
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("41 bytes of options were taken")
		}
	}()
	buildTCP(&TCP{Src: client4, Dst: remote4, Options: make([]byte, 41)}, 0)
}

func TestTCPAllocs(t *testing.T) {
	b := buildTCP(&TCP{Src: client6, Dst: remote6, Options: []byte{1, 1, 1}}, 1200)
	var h TCP
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseTCP(b, &h); err != nil {
			t.Fatal(err)
		}
		h.Seq++
		PutTCP(b, &h)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParseTCP: no panic, and what is accepted can be built and read again.
func FuzzParseTCP(f *testing.F) {
	f.Add(buildTCP(&TCP{Src: client4, Dst: remote4, Flags: FlagSYN, Options: []byte{30, 3, 0x51}}, 5))
	f.Add(buildTCP(&TCP{Src: client6, Dst: remote6, Flags: FlagACK}, 50))
	f.Add(buildTCP(&TCP{Src: client6, Dst: remote6, Bare: true}, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, repair(b)} {
			var h, again TCP
			payload, err := ParseTCP(b, &h)
			if err != nil || is4(h.Dst.Addr()) != (b[0]>>4 == 4) {
				continue
			}
			c := bytes.Clone(b)
			PutTCP(c, &h)
			p, err := ParseTCP(c, &again)
			if err != nil || !bytes.Equal(p, payload) || !bytes.Equal(h.Options, again.Options) {
				t.Fatalf("% x\nread as %+v, built as\n% x\nread as %+v, %v", b, h, c, again, err)
			}
			h.Options, again.Options = nil, nil
			if diff := cmp.Diff(h, again, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
