package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket/layers"
)

// buildUDP returns a packet with n random bytes of payload.
func buildUDP(from, to netip.AddrPort, n int) []byte {
	h := UDP{Src: from, Dst: to, TOS: 0x2E, TTL: 61, ID: 0x12345678}
	head := h.Overhead(n)
	b := append(bytes.Repeat([]byte{0xEE}, head), randomBytes(n)...) // headers must not depend on what was there
	PutUDP(b, &h)
	return b
}

var udpSizes = []int{0, 1, 2, 3, 7, 8, 100, 1199, 1200, 1472, 9000, 65479, 65507}

func TestPutUDP(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
		sizes := udpSizes
		if ends[1] == remote6 {
			sizes = append(sizes, 65508, 65519, 65520, 65527)
		}
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%v/%d", ends[1].Addr(), n), func(t *testing.T) {
				b := buildUDP(ends[0], ends[1], n)
				o := understand(t, b)
				wantID := uint32(0x12345678)
				bare := n > 65519
				if ends[1] == remote4 {
					wantID, bare = 0x5678, true
				}
				if bare && ends[1] == remote6 {
					wantID = 0
				}
				if o.udp == nil || !o.checksumOK || int(o.udp.Length) != n+8 || o.udp.SrcPort != 40000 || o.udp.DstPort != 443 {
					t.Fatalf("gopacket read %+v, checksum good: %v", o.udp, o.checksumOK)
				}
				if o.src != ends[0].Addr() || o.dst != ends[1].Addr() || o.tos != 0x2E || o.ttl != 61 || o.id != wantID || o.bare != bare {
					t.Errorf("gopacket read %+v", o)
				}
				if !bytes.Equal(o.payload, randomBytes(n)) {
					t.Error("the payload changed")
				}
				if total, err := Length(b); total != len(b) || err != nil {
					t.Errorf("Length = %d, %v; want %d", total, err, len(b))
				}
				var h UDP
				payload, err := ParseUDP(b, &h)
				if err != nil || !bytes.Equal(payload, randomBytes(n)) {
					t.Fatalf("ParseUDP: %v", err)
				}
				want := UDP{Src: ends[0], Dst: ends[1], TOS: 0x2E, TTL: 61, ID: wantID, Bare: bare && ends[1] == remote6}
				if diff := cmp.Diff(want, h, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
					t.Errorf("ParseUDP (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestPutUDPMapped(t *testing.T) {
	src := netip.AddrPortFrom(netip.AddrFrom16(client4.Addr().As16()), client4.Port())
	dst := netip.AddrPortFrom(netip.AddrFrom16(remote4.Addr().As16()), remote4.Port())
	if UDPOverhead(dst.Addr()) != UDP4Overhead {
		t.Error("an IPv4-mapped destination is not IPv4")
	}
	if !bytes.Equal(buildUDP(src, dst, 20), buildUDP(client4, remote4, 20)) {
		t.Error("IPv4-mapped addresses make another packet")
	}
}

func TestPutUDPPanics(t *testing.T) {
	for name, n := range map[string]int{"IPv4": 0x10000, "IPv6": IPv6HeaderLen + 0x10000} {
		t.Run(name, func(t *testing.T) {
			h := UDP{Src: client4, Dst: remote4}
			if name == "IPv6" {
				h = UDP{Src: client6, Dst: remote6}
			}
			defer func() {
				if recover() == nil {
					t.Error("a packet that is too long was built")
				}
			}()
			PutUDP(make([]byte, n), &h)
		})
	}
}

// A checksum that comes out as 0 is sent as 0xFFFF (RFC 768).
func TestUDPZeroChecksum(t *testing.T) {
	for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
		h := UDP{Src: ends[0], Dst: ends[1]}
		b := make([]byte, h.Overhead(2)+2)
		PutUDP(b, &h)
		at := len(b) - 4
		copy(b[at+2:], b[at:at+2]) // the checksum becomes the payload: the sum is then 0xFFFF
		PutUDP(b, &h)
		if got := binary.BigEndian.Uint16(b[at:]); got != 0xFFFF {
			t.Errorf("checksum %04x, want ffff", got)
		}
		if _, err := ParseUDP(b, &h); err != nil {
			t.Error(err)
		}
		if !understand(t, b).checksumOK {
			t.Error("gopacket refuses the checksum")
		}
		// An absent one is accepted on IPv4 only (RFC 768; RFC 8200, Section 8.1).
		b[at], b[at+1] = 0, 0
		want := error(nil)
		if ends[1] == remote6 {
			want = ErrChecksum
		}
		if _, err := ParseUDP(b, &h); err != want {
			t.Errorf("%v without checksum: %v, want %v", ends[1], err, want)
		}
	}
}

func TestParseUDPFromOracle(t *testing.T) {
	for _, n := range udpSizes {
		for _, bare := range []bool{false, true} {
			for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
				udp := &layers.UDP{SrcPort: layers.UDPPort(ends[0].Port()), DstPort: layers.UDPPort(ends[1].Port())}
				// gopacket computes no lengths beyond 65,535 and no fragment header of its own.
				if ends[1] == remote6 && n > 65000 {
					continue
				}
				b := serialize(t, ends[0].Addr(), ends[1].Addr(), 0xFD, 3, 0xFEDCBA98, bare, udp, randomBytes(n))
				want := UDP{Src: ends[0], Dst: ends[1], TOS: 0xFD, TTL: 3, ID: 0xFEDCBA98, Bare: bare}
				if ends[1] == remote4 {
					want.ID, want.Bare = 0xBA98, false
				} else if bare {
					want.ID = 0
				}
				var h UDP
				payload, err := ParseUDP(b, &h)
				if err != nil || !bytes.Equal(payload, randomBytes(n)) {
					t.Fatalf("%v, %d bytes: %v", ends[1], n, err)
				}
				if diff := cmp.Diff(want, h, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
					t.Errorf("%v, %d bytes (-want +got):\n%s", ends[1], n, diff)
				}
				// Built by us, it is the same packet.
				again := append(make([]byte, len(b)-n), randomBytes(n)...)
				PutUDP(again, &h)
				if !bytes.Equal(again, b) {
					t.Errorf("%v, %d bytes: we build\n% x\ngopacket\n% x", ends[1], n, again[:56], b[:56])
				}
			}
		}
	}
}

func TestParseUDPRefuses(t *testing.T) {
	// Each change is to a good packet of 33 bytes of payload.
	fix4 := func(b []byte) {
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], Checksum(b[:20], 0))
	}
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		want4  error
		want6  error
	}{
		{"empty", func(b []byte) []byte { return nil }, ErrShort, ErrShort},
		{"one byte", func(b []byte) []byte { return b[:1] }, ErrShort, ErrShort},
		{"cut", func(b []byte) []byte { return b[:len(b)-1] }, ErrLength, ErrLength},
		{"trailing byte", func(b []byte) []byte { return append(b, 0) }, ErrLength, ErrLength},
		{"version 5", func(b []byte) []byte { b[0] = 0x55; return b }, ErrVersion, ErrVersion},
		{"payload bit", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, ErrChecksum, ErrChecksum},
		{"address bit", func(b []byte) []byte { b[15] ^= 1; return b }, ErrChecksum, ErrChecksum},
		{"TCP", func(b []byte) []byte {
			if b[0]>>4 == 6 {
				b[40] = ProtoTCP
			} else {
				b[9] = ProtoTCP
				fix4(b)
			}
			return b
		}, ErrProtocol, ErrProtocol},
		{"more fragments", func(b []byte) []byte {
			if b[0]>>4 == 6 {
				b[43] |= 1
			} else {
				b[6] |= 0x20
				fix4(b)
			}
			return b
		}, ErrFragment, ErrFragment},
		{"fragment offset", func(b []byte) []byte {
			if b[0]>>4 == 6 {
				b[43] |= 8
			} else {
				b[7] = 1
				fix4(b)
			}
			return b
		}, ErrFragment, ErrFragment},
		{"UDP length", func(b []byte) []byte {
			n := UDP4Overhead - 4
			if b[0]>>4 == 6 {
				n = UDP6Overhead - 4
			}
			b[n+1]--
			return b
		}, ErrLength, ErrLength},
		{"options or no payload", func(b []byte) []byte {
			if b[0]>>4 == 6 {
				b = b[:IPv6HeaderLen+3]
				b[4], b[5] = 0, 3
			} else {
				b[0] = 0x46
			}
			return b
		}, ErrHeader, ErrShort},
		{"header only", func(b []byte) []byte {
			if b[0]>>4 == 6 {
				b = b[:IPv6HeaderLen+FragmentHeaderLen+7]
				b[4], b[5] = 0, 15
			} else {
				b = b[:IPv4HeaderLen+7]
				b[2], b[3] = 0, 27
				fix4(b)
			}
			return b
		}, ErrShort, ErrShort},
	} {
		var h UDP
		if _, err := ParseUDP(c.change(buildUDP(client4, remote4, 33)), &h); err != c.want4 {
			t.Errorf("IPv4, %s: %v, want %v", c.name, err, c.want4)
		}
		if _, err := ParseUDP(c.change(buildUDP(client6, remote6, 33)), &h); err != c.want6 {
			t.Errorf("IPv6, %s: %v, want %v", c.name, err, c.want6)
		}
	}
}

func TestUDPAllocs(t *testing.T) {
	b4, b6 := buildUDP(client4, remote4, 1200), buildUDP(client6, remote6, 1200)
	var h UDP
	var k Key
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range [][]byte{b4, b6} {
			if _, err := ParseUDP(b, &h); err != nil {
				t.Fatal(err)
			}
			h.ID++
			PutUDP(b, &h)
			KeyOf(b, &k)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParseUDP: no panic, and what is accepted is built again to the same
// bytes, but for the bits that have no meaning and an absent checksum.
func FuzzParseUDP(f *testing.F) {
	for _, n := range []int{0, 1, 33} {
		f.Add(buildUDP(client4, remote4, n))
		f.Add(buildUDP(client6, remote6, n))
		h := UDP{Src: client6, Dst: remote6, Bare: true}
		b := make([]byte, 48+n)
		PutUDP(b, &h)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// A fuzzer does not find checksums: put the right ones in as well.
		for _, b := range [][]byte{b, repair(b)} {
			var h, again UDP
			payload, err := ParseUDP(b, &h)
			if err != nil {
				continue
			}
			if is4(h.Dst.Addr()) != (b[0]>>4 == 4) {
				continue // an IPv4-mapped address in an IPv6 header is sent as IPv4
			}
			c := bytes.Clone(b)
			PutUDP(c, &h)
			p, err := ParseUDP(c, &again)
			if err != nil || !bytes.Equal(p, payload) || h != again {
				t.Fatalf("% x\nread as %+v, built as\n% x\nread as %+v, %v", b, h, c, again, err)
			}
			if n, err := Length(b); n != len(b) || err != nil {
				t.Fatalf("Length = %d, %v of %d", n, err, len(b))
			}
			var k Key
			if !KeyOf(b, &k) || k.SrcPort != h.Src.Port() || k.DstPort != h.Dst.Port() || k.Proto != ProtoUDP {
				t.Fatalf("KeyOf: %+v of %+v", k, h)
			}
		}
	})
}

// repair returns a copy of b with lengths and checksums that agree with it,
// as far as it is long enough for them.
func repair(b []byte) []byte {
	b = bytes.Clone(b)
	var at, check int
	var sum uint64
	proto := func(p byte) byte {
		check = 6
		if p == ProtoTCP {
			check = 16
		}
		return p
	}
	switch {
	case len(b) >= 28 && len(b) <= 0xFFFF && b[0]>>4 == 4:
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], Checksum(b[:20], 0))
		at, sum = 20, Sum(b[12:20], uint64(proto(b[9])))
	case len(b) >= 56 && len(b) <= 0xFFFF && b[0]>>4 == 6:
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		at, sum = 40, uint64(proto(b[6]))
		if b[6] == protoFragment {
			at, sum = 48, uint64(proto(b[40]))
		}
		sum = Sum(b[8:40], sum)
	default:
		return b
	}
	u := b[at:]
	if len(u) < check+2 {
		return b
	}
	if check == 6 {
		binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	}
	u[check], u[check+1] = 0, 0
	binary.BigEndian.PutUint16(u[check:], Checksum(u, sum+uint64(len(u))))
	return b
}

func BenchmarkPutUDP(b *testing.B) {
	for _, to := range []netip.AddrPort{remote4, remote6} {
		b.Run(fmt.Sprint(to.Addr()), func(b *testing.B) {
			h := UDP{Src: client4, Dst: to, TTL: 64}
			if to == remote6 {
				h.Src = client6
			}
			p := make([]byte, h.Overhead(1200)+1200)
			for b.Loop() {
				h.ID++
				PutUDP(p, &h)
			}
		})
	}
}

func BenchmarkParseUDP(b *testing.B) {
	for _, p := range [][]byte{buildUDP(client4, remote4, 1200), buildUDP(client6, remote6, 1200)} {
		b.Run(fmt.Sprint("IPv", p[0]>>4), func(b *testing.B) {
			var h UDP
			for b.Loop() {
				if _, err := ParseUDP(p, &h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An IPv6 packet with an IPv4-mapped address is none: what would be made for an answer to it,
// or of what is said about it, would have two families.
func TestMappedAddressesAreNone(t *testing.T) {
	six, mapped := netip.MustParseAddrPort("[2001:db8::1]:7"), netip.MustParseAddrPort("[::ffff:192.0.2.1]:7").Addr().As16()
	for _, at := range []int{8, 24} {
		h := UDP{Src: six, Dst: six, TTL: 64}
		b := make([]byte, h.Overhead(5)+5)
		PutUDP(b, &h)
		copy(b[at:], mapped[:])
		if _, err := ParseUDP(b, &h); err != ErrMapped {
			t.Errorf("a datagram: %v", err)
		}
		e := Echo{Src: six.Addr(), Dst: six.Addr(), ID: 1, TTL: 64}
		b = make([]byte, e.Overhead()+5)
		PutEcho(b, &e)
		copy(b[at:], mapped[:])
		if _, err := ParseEcho(b, &e); err == nil {
			t.Error("an echo request is taken")
		}
		f := Failure{From: six.Addr(), To: six.Addr(), Proto: ProtoUDP, Src: six, Dst: six}
		f.NoPort(false)
		b = make([]byte, f.Len())
		PutFailure(b, &f)
		quoted := len(b) - IPv6HeaderLen - quoteLen
		copy(b[quoted+at:], mapped[:])
		m := b[quoted-icmpHeaderLen:]
		sumICMP(m, ProtoICMP6, addrSum6(b))
		if err := ParseFailure(b, &f); err != ErrMapped {
			t.Errorf("word of a failure: %v", err)
		}
	}
	long := UDP{Src: netip.AddrPortFrom(netip.AddrFrom16(mapped), 7), Dst: six, ID: 3}
	b, tail := make([]byte, UDP6Overhead+MaxWhole6+1), make([]byte, MaxTail)
	first, second := SplitUDP(b, tail, &long)
	var r Reassembler
	r.Add(b[:first], &long)
	if _, ok := r.Add(tail[:second], &long); ok {
		t.Error("one in halves is taken")
	}
}
