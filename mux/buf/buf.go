// Package buf holds the one kind of memory that a datagram lives in between
// two sockets: a pooled Buffer with free room in front, so that headers are
// written and stripped in place.
package buf

import "sync"

const (
	// Headroom is the room before the data of a fresh Buffer: an IPv6 header
	// (40), a fragment header (8), a UDP header (8) and the longest DSS option
	// (28) are 84 bytes; rounded up to a multiple of 32.
	Headroom = 96
	// SmallSize fits every datagram of a 1,500-byte link.
	SmallSize = 2048 - Headroom
	// PageSize fits what is a little larger, such as two datagrams' worth.
	PageSize = 4096 - Headroom
	// MediumSize fits one stream segment (16 KiB with its headers).
	MediumSize = 16384 + 256 - Headroom
	// MaxSize fits the longest IP packet and the longest SOCKS datagram.
	MaxSize = 65535 + 256
)

// A Buffer is a run of bytes with room before and behind it. It has one owner
// at a time and is not safe for concurrent use.
type Buffer struct {
	// Next and Stamp belong to the owner: queues link Buffers by Next and note
	// in Stamp when one came (nanoseconds of the owner's clock).
	Next  *Buffer
	Stamp int64

	store    []byte
	off, end int
	class    uint8
}

var pools = [4]sync.Pool{
	{New: func() any { return &Buffer{store: make([]byte, Headroom+SmallSize), class: 0} }},
	{New: func() any { return &Buffer{store: make([]byte, Headroom+PageSize), class: 1} }},
	{New: func() any { return &Buffer{store: make([]byte, Headroom+MediumSize), class: 2} }},
	{New: func() any { return &Buffer{store: make([]byte, Headroom+MaxSize), class: 3} }},
}

// Get returns a Buffer of n bytes of undefined content with Headroom free
// bytes in front. It panics when n exceeds MaxSize.
func Get(n int) *Buffer {
	class := 0
	switch {
	case n <= SmallSize:
	case n <= PageSize:
		class = 1
	case n <= MediumSize:
		class = 2
	case n <= MaxSize:
		class = 3
	default:
		panic("buf: larger than any packet")
	}
	b := pools[class].Get().(*Buffer)
	b.Next, b.off, b.end = nil, Headroom, Headroom+n
	return b
}

// Release gives the Buffer back to its pool; the owner must not touch it again.
func (b *Buffer) Release() { pools[b.class].Put(b) }

// Bytes returns the data; it is valid until Release.
func (b *Buffer) Bytes() []byte { return b.store[b.off:b.end] }

// Len returns the number of bytes of data.
func (b *Buffer) Len() int { return b.end - b.off }

// Held returns how many bytes of memory the Buffer is, whatever it carries.
func (b *Buffer) Held() int { return len(b.store) }

// Cap returns how long the data can become by Resize.
func (b *Buffer) Cap() int { return len(b.store) - b.off }

// Prepend grows the data by n bytes at its front, of undefined content, and
// returns the whole data. It panics when the headroom is used up.
func (b *Buffer) Prepend(n int) []byte {
	if n > b.off {
		panic("buf: headroom exhausted")
	}
	b.off -= n
	return b.store[b.off:b.end]
}

// Fronted returns the data with the n bytes before it, which are of undefined content, and leaves
// the Buffer as it is: others may read the data meanwhile, but not use the room before it. It
// returns nil when there is less room.
func (b *Buffer) Fronted(n int) []byte {
	if n > b.off {
		return nil
	}
	return b.store[b.off-n : b.end]
}

// Trim drops n bytes from the front.
func (b *Buffer) Trim(n int) {
	if n > b.end-b.off {
		panic("buf: trimmed beyond the end")
	}
	b.off += n
}

// Resize sets the length of the data, keeping its start. It panics when n
// exceeds Cap.
func (b *Buffer) Resize(n int) {
	if n > b.Cap() {
		panic("buf: resized beyond capacity")
	}
	b.end = b.off + n
}
