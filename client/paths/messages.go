package paths

import "encoding/binary"

// Kinds of messages of a BSD routing socket that say of an interface, an address or a route
// that it has changed (net/route.h).
const (
	routeAdded    = 0x1
	routeDeleted  = 0x2
	routeChanged  = 0x3
	addressAdded  = 0xc
	addressGone   = 0xd
	linkChanged   = 0xe
	linkChanged2  = 0x12
	messageHeader = 4
)

// tellsChange says whether what was read of a routing socket tells of a change. The length of
// a message stands in front of it, and its kind behind its version.
func tellsChange(b []byte) bool {
	for len(b) >= messageHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < messageHeader || n > len(b) {
			return true // not understood: look
		}
		switch b[3] {
		case routeAdded, routeDeleted, routeChanged, addressAdded, addressGone, linkChanged, linkChanged2:
			return true
		}
		b = b[n:]
	}
	return false
}
