package packet

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
)

// plainSum is RFC 1071 word by word, folded.
func plainSum(b []byte, initial uint64) uint16 {
	sum := initial
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint64(b[i])<<8 + uint64(b[i+1])
	}
	if len(b)%2 != 0 {
		sum += uint64(b[len(b)-1]) << 8
	}
	for sum > 0xFFFF {
		sum = sum>>16 + sum&0xFFFF
	}
	return uint16(sum)
}

func TestChecksumVectors(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want uint16
	}{
		{"", 0xFFFF},
		{"00", 0xFFFF},
		{"01", 0xFEFF},
		{"0001f203f4f5f6f7", ^uint16(0xddf2)}, // RFC 1071, Section 3
		{"45000073000040004011b861c0a80001c0a800c7", 0},              // a header with its checksum
		{"450000730000400040110000c0a80001c0a800c7", 0xb861},         // and without
		{"ffffffffffffffffffffffffffffffffffffffffffffffffffff", 0},  // every addition carries
		{"ffffffffffffffff0001", ^uint16(1)},                         // the last carry comes around
		{"fffffffffffffffffffffffffffffffe0000000000000001", 0x0000}, // the sum is 0xFFFF, not 0
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		if got := Checksum(b, 0); got != c.want {
			t.Errorf("Checksum(%s) = %04x, want %04x", c.hex, got, c.want)
		}
	}
}

func TestChecksumAllLengths(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	store := make([]byte, 700)
	for _, fill := range []string{"random", "ones"} {
		for i := range store {
			store[i] = 0xFF
			if fill == "random" {
				store[i] = byte(rnd.Uint32())
			}
		}
		for n := range 600 {
			b := store[n%9 : n%9+n] // at every alignment
			initial := uint64(rnd.Uint32())
			if got, want := Fold(Sum(b, initial)), plainSum(b, initial); got != want {
				t.Fatalf("%s, %d bytes: %04x, want %04x", fill, n, got, want)
			}
			// In two even parts it is the same.
			k := n / 2 &^ 1
			if got, want := Fold(Sum(b[k:], Sum(b[:k], initial))), plainSum(b, initial); got != want {
				t.Fatalf("%s, %d bytes in parts: %04x, want %04x", fill, n, got, want)
			}
		}
	}
}

func FuzzChecksum(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff"), ^uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, initial uint32) {
		if got, want := Fold(Sum(b, uint64(initial))), plainSum(b, uint64(initial)); got != want {
			t.Fatalf("%04x, want %04x", got, want)
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{40, 200, 1200, 65507} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				Checksum(data, 17)
			}
		})
	}
}
