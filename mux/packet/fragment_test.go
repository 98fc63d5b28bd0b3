package packet

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// splitUDP returns the two fragments of a datagram of n bytes.
func splitUDP(n int, id uint32) (first, second []byte) {
	h := UDP{Src: client6, Dst: remote6, TOS: 0x2E, TTL: 61, ID: id}
	b := append(make([]byte, UDP6Overhead), randomBytes(n)...)
	tail := make([]byte, MaxTail)
	i, j := SplitUDP(b, tail, &h)
	return b[:i], tail[:j]
}

func TestSplitUDP(t *testing.T) {
	for _, n := range []int{MaxWhole6 + 1, 65500, 65519, 65520, MaxUDP6Payload} {
		for _, order := range []string{"in order", "reversed"} {
			t.Run(fmt.Sprintf("%d/%s", n, order), func(t *testing.T) {
				first, second := splitUDP(n, 77)
				for i, b := range [][]byte{first, second} {
					if total, err := Length(b); len(b) > 0xFFFF || total != len(b) || err != nil {
						t.Errorf("fragment %d of %d bytes: Length %d, %v", i, len(b), total, err)
					}
					var h UDP
					if !IsFragment(b) {
						t.Errorf("fragment %d is not seen as one", i)
					}
					if _, err := ParseUDP(b, &h); err != ErrFragment {
						t.Errorf("ParseUDP of fragment %d: %v", i, err)
					}
					f, ok := gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default).Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
					if !ok || f.Identification != 77 || f.MoreFragments != (i == 0) || int(f.FragmentOffset)*8 != i*fragmentCut || f.NextHeader != layers.IPProtocolUDP {
						t.Errorf("gopacket reads fragment %d as %+v", i, f)
					}
				}
				parts := [][]byte{first, second}
				if order == "reversed" {
					parts[0], parts[1] = second, first
				}
				var r Reassembler
				var h UDP
				if _, ok := r.Add(parts[0], &h); ok {
					t.Fatal("half a datagram was taken for a whole one")
				}
				if _, ok := r.Add(parts[0], &h); ok {
					t.Fatal("half a datagram twice was taken for a whole one")
				}
				payload, ok := r.Add(parts[1], &h)
				if !ok || !bytes.Equal(payload, randomBytes(n)) {
					t.Fatalf("reassembled %v, %d bytes", ok, len(payload))
				}
				if want := (UDP{Src: client6, Dst: remote6, TOS: 0x2E, TTL: 61, ID: 77}); h != want {
					t.Errorf("%+v, want %+v", h, want)
				}
			})
		}
	}
}

func TestIsFragment(t *testing.T) {
	atomic, bare := make([]byte, UDP6Overhead), make([]byte, UDP6Overhead-FragmentHeaderLen)
	four := make([]byte, UDP4Overhead)
	PutUDP(atomic, &UDP{Src: client6, Dst: remote6, ID: 7})
	PutUDP(bare, &UDP{Src: client6, Dst: remote6, Bare: true})
	PutUDP(four, &UDP{Src: client4, Dst: remote4, ID: 7})
	for _, b := range [][]byte{atomic, bare, four, atomic[:47], nil} {
		if IsFragment(b) {
			t.Errorf("% x is seen as a fragment", b)
		}
	}
}

func TestReassemblerBounds(t *testing.T) {
	var r Reassembler
	var h UDP
	for id := range uint32(reassembleSlots + 1) {
		first, _ := splitUDP(65500, id)
		r.Add(first, &h)
	}
	_, second := splitUDP(65500, 0)
	if _, ok := r.Add(second, &h); ok {
		t.Error("the oldest half was not forgotten")
	}
	_, second = splitUDP(65500, reassembleSlots)
	if _, ok := r.Add(second, &h); !ok {
		t.Error("the newest half was forgotten")
	}
	// What comes and goes meanwhile does not push out a half that waits.
	first, second := splitUDP(65500, 50)
	r.Add(first, &h)
	for id := uint32(100); id < 100+2*reassembleSlots; id++ {
		a, b := splitUDP(65500, id)
		r.Add(a, &h)
		if _, ok := r.Add(b, &h); !ok {
			t.Errorf("datagram %d was not put together", id)
		}
	}
	if _, ok := r.Add(second, &h); !ok {
		t.Error("a half was forgotten although there was room")
	}
	// A changed byte fails the checksum.
	first, second = splitUDP(65500, 99)
	second[len(second)-1] ^= 1
	r.Add(first, &h)
	if _, ok := r.Add(second, &h); ok {
		t.Error("a changed datagram was taken")
	}
	for name, n := range map[string]int{"short": 100, "long": MaxUDP6Payload + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a %s datagram was split", name)
				}
			}()
			splitUDP(n, 1)
		}()
	}
}

// FuzzReassembler: no panic, whatever two fragments say.
func FuzzReassembler(f *testing.F) {
	first, second := splitUDP(65500, 1)
	f.Add(first[:56], second[:60])
	f.Add(second[:60], []byte{0x60})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var r Reassembler
		var h UDP
		for _, p := range [][]byte{a, b, repair(a), repair(b)} {
			if payload, ok := r.Add(p, &h); ok && len(payload) > MaxUDP6Payload {
				t.Fatal("too long")
			}
		}
	})
}
