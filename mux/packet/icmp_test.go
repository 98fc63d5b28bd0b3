package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

// echoes are one of each family and direction.
func echoes() (all []Echo) {
	for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
		for _, bare := range []bool{false, ends[0] == client6} {
			all = append(all,
				Echo{Src: ends[0].Addr(), Dst: ends[1].Addr(), TOS: 0xB9, TTL: 7, ID: 0x1234, Seq: 3, Bare: bare},
				Echo{Src: ends[1].Addr(), Dst: ends[0].Addr(), TTL: 60, ID: 0x1234, Seq: 3, Reply: true, Bare: bare})
		}
	}
	return all
}

func buildEcho(h Echo, n int) []byte {
	b := make([]byte, h.Overhead()+n)
	for i := range n {
		b[h.Overhead()+i] = byte(i)
	}
	PutEcho(b, &h)
	return b
}

// What is written reads the same, is what Length says, and every flipped bit is noticed.
func TestEcho(t *testing.T) {
	for _, want := range echoes() {
		if want.Dst.Is4() {
			want.Bare = false
		}
		for _, n := range []int{0, 1, 56, 1400} {
			b := buildEcho(want, n)
			if l, err := Length(b); err != nil || l != len(b) {
				t.Fatalf("length %d of %d, %v", l, len(b), err)
			}
			var got Echo
			payload, err := ParseEcho(b, &got)
			if err != nil || got != want || len(payload) != n {
				t.Errorf("%+v reads as %+v with %d bytes, %v", want, got, len(payload), err)
			}
			if _, err := ParseUDP(b, new(UDP)); err != ErrProtocol {
				t.Errorf("ParseUDP says %v", err)
			}
			if err := ParseFailure(b, new(Failure)); err != ErrProtocol {
				t.Errorf("ParseFailure says %v", err)
			}
		}
		b := buildEcho(want, 9)
		for i := range len(b) * 8 {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			var got Echo
			if _, err := ParseEcho(c, &got); err == nil && c[0]>>4 == 4 {
				t.Errorf("bit %d is not noticed: %+v", i, got)
			}
		}
		for n := range b {
			if _, err := ParseEcho(b[:n], new(Echo)); err == nil {
				t.Errorf("%d bytes of %d are taken", n, len(b))
			}
		}
		// A pinger's requests and replies are a flow each, by its identifier.
		var k Key
		if !KeyOf(b, &k) {
			t.Fatal("no flow")
		}
		from, to := want.ID, uint16(0)
		if want.Reply {
			from, to = to, from
		}
		if k.SrcPort != from || k.DstPort != to {
			t.Errorf("ports %d, %d", k.SrcPort, k.DstPort)
		}
		if e, ok := k.Inside(!want.Reply); !ok || e != (End{ProtoICMP, 2, want.ID}) {
			t.Errorf("the client's end is %+v, %v", e, ok)
		}
	}
}

func failures() (all []Failure) {
	for _, ends := range [][2]netip.AddrPort{{client4, remote4}, {client6, remote6}} {
		four := ends[0] == client4
		icmp := uint8(ProtoICMP6)
		if four {
			icmp = ProtoICMP
		}
		for _, bare := range []bool{false, !four} {
			for _, proto := range []uint8{ProtoUDP, icmp} {
				f := Failure{From: ends[1].Addr().Next(), To: ends[0].Addr(), Proto: proto, Src: ends[0], Dst: ends[1], Bare: bare}
				for _, why := range []func(bool){f.Prohibited, f.NoPort, f.Expired} {
					why(four)
					all = append(all, f)
				}
			}
		}
	}
	return all
}

func TestFailure(t *testing.T) {
	for _, want := range failures() {
		b := make([]byte, want.Len())
		PutFailure(b, &want)
		if l, err := Length(b); err != nil || l != len(b) {
			t.Fatalf("length %d of %d, %v", l, len(b), err)
		}
		var got Failure
		if err := ParseFailure(b, &got); err != nil || got != want {
			t.Errorf("%+v reads as %+v, %v", want, got, err)
		}
		if _, err := ParseEcho(b, new(Echo)); err != ErrProtocol {
			t.Errorf("ParseEcho says %v", err)
		}
		for n := range b {
			if err := ParseFailure(b[:n], new(Failure)); err == nil {
				t.Errorf("%d bytes of %d are taken", n, len(b))
			}
		}
		// Other kinds are not carried: nobody tells a program's system of a path's MTU.
		for _, kind := range [][2]uint8{{3, 4}, {2, 0}, {5, 1}, {8, 0}, {12, 0}, {128, 0}, {137, 0}} {
			if !want.To.Is4() && kind == [2]uint8{3, 4} {
				continue
			}
			bad := want
			bad.Type, bad.Code = kind[0], kind[1]
			PutFailure(b, &bad)
			if err := ParseFailure(b, &got); err == nil {
				t.Errorf("type %d code %d is taken", kind[0], kind[1])
			}
		}
	}
}

func FuzzParseICMP(f *testing.F) {
	for _, h := range echoes() {
		f.Add(buildEcho(h, 8))
	}
	for _, h := range failures() {
		b := make([]byte, h.Len())
		PutFailure(b, &h)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Echo
		var e Failure
		payload, notEcho := ParseEcho(b, &h)
		notFailure := ParseFailure(b, &e)
		if notEcho == nil && notFailure == nil {
			t.Error("both an echo and a failure")
		}
		if notEcho == nil {
			again := append(make([]byte, h.Overhead()), payload...)
			PutEcho(again, &h)
			var same Echo
			if _, err := ParseEcho(again, &same); err != nil || same != h || len(again) != len(b) {
				t.Errorf("%+v reads again as %+v, %v", h, same, err)
			}
		}
		if notFailure == nil {
			again := make([]byte, e.Len())
			PutFailure(again, &e)
			var same Failure
			if err := ParseFailure(again, &same); err != nil || same != e {
				t.Errorf("%+v reads again as %+v, %v", e, same, err)
			}
		}
	})
}
