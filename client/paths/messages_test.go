package paths

import (
	"encoding/binary"
	"testing"
)

// A routing socket of macOS tells of changes, and of much else.
func TestTellsChange(t *testing.T) {
	message := func(kind byte, size int) []byte {
		b := make([]byte, size)
		binary.NativeEndian.PutUint16(b, uint16(size))
		b[2], b[3] = 5, kind
		return b
	}
	const get, miss, multicast, prefix = 0x4, 0x7, 0xf, 0x15
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"an interface", message(linkChanged, 112), true},
		{"an address", message(addressAdded, 76), true},
		{"an address that has gone", message(addressGone, 76), true},
		{"a route", message(routeDeleted, 132), true},
		{"somebody's question", message(get, 132), false},
		{"a destination without a route, a group", append(message(miss, 92), message(multicast, 60)...), false},
		{"the second of two", append(message(get, 92), message(linkChanged2, 160)...), true},
		{"one that is not known", message(prefix, 48), false},
		{"nothing", nil, false},
		{"half a message", message(get, 92)[:40], true},
		{"a length of zero", make([]byte, 8), true},
	} {
		if got := tellsChange(c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
