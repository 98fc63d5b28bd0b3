package mptcp

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func TestChecksum(t *testing.T) {
	if got := Checksum(0x1122334455667788, 1, 11, []byte("hello world")); got != 0x5cd0 {
		t.Errorf("%x, want 5cd0", got)
	}
}

// plainChecksum is RFC 1071 word by word.
func plainChecksum(dsn uint64, ssn uint32, dll uint16, data []byte) uint16 {
	b := binary.BigEndian.AppendUint64(nil, dsn)
	b = binary.BigEndian.AppendUint32(b, ssn)
	b = binary.BigEndian.AppendUint16(b, dll)
	b = append(append(b, 0, 0), data...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 + uint32(b[i+1])
		sum = sum>>16 + sum&0xFFFF
	}
	return ^uint16(sum)
}

func TestChecksumAllLengths(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(rnd.Uint32()) | byte(-(n & 1)) // all ones for odd lengths: many carries
		}
		dsn, ssn := rnd.Uint64(), rnd.Uint32()
		if got, want := Checksum(dsn, ssn, uint16(n), data), plainChecksum(dsn, ssn, uint16(n), data); got != want {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

func FuzzChecksum(f *testing.F) {
	f.Add(uint64(0), uint32(0), []byte{})
	f.Add(^uint64(0), ^uint32(0), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, dsn uint64, ssn uint32, data []byte) {
		if got, want := Checksum(dsn, ssn, uint16(len(data)), data), plainChecksum(dsn, ssn, uint16(len(data)), data); got != want {
			t.Fatalf("%x, want %x", got, want)
		}
	})
}
