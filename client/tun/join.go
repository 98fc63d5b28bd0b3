package tun

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

const (
	// joinTime is how long the fragments of a packet are waited for (RFC 791 and
	// RFC 8200 say 15 and 60 s; on a device they come in one piece or not at all).
	joinTime = 5 * time.Second
	// maxJoins bounds the packets that wait for fragments: 64 of 64 KiB. The oldest gives way:
	// a program that sends halves keeps nobody's from being joined.
	maxJoins = 64
)

// A joiner puts IP fragments together. Programs make them rarely, as a device
// takes the longest packets whole; raw sockets and IPv6 datagrams over 65,487
// bytes do. Overlapping fragments end the packet (RFC 5722).
type joiner struct {
	open map[joinKey]*join
}

type joinKey struct {
	src, dst netip.Addr
	proto    uint8
	id       uint32
}

type join struct {
	since  time.Time
	header []byte
	data   []byte
	have   []bool // of each 8 bytes
	total  int    // of the payload, -1 = not known
	got    int
}

// join takes a fragment and returns the packet that it completes, or nil.
func (j *joiner) join(b []byte, n *network) []byte {
	k := joinKey{src: n.src, dst: n.dst, proto: n.proto}
	var offset int
	var more bool
	if n.src.Is4() {
		k.id = uint32(binary.BigEndian.Uint16(b[4:]))
		f := binary.BigEndian.Uint16(b[6:])
		offset, more = int(f&0x1FFF)*8, f&0x2000 != 0
	} else {
		h := b[n.header-packet.FragmentHeaderLen:]
		k.id = binary.BigEndian.Uint32(h[4:])
		f := binary.BigEndian.Uint16(h[2:])
		offset, more = int(f&^7), f&1 != 0
	}
	part := b[n.header:n.total]
	if len(part) == 0 || more && len(part)%8 != 0 || offset+len(part) > packet.MaxUDP6Payload+packet.UDPHeaderLen {
		delete(j.open, k)
		return nil
	}
	now := time.Now()
	w := j.open[k]
	if w == nil {
		w = j.begin(k, now)
	}
	if !w.add(offset, part, more) {
		delete(j.open, k)
		return nil
	}
	if offset == 0 {
		w.header = append([]byte(nil), b[:n.header]...)
	}
	if w.total < 0 || w.got < w.total {
		return nil
	}
	delete(j.open, k)
	return w.whole(n)
}

func (j *joiner) begin(k joinKey, now time.Time) *join {
	if j.open == nil {
		j.open = make(map[joinKey]*join)
	}
	if len(j.open) >= maxJoins {
		var oldest joinKey
		var since time.Time
		for key, w := range j.open {
			if now.Sub(w.since) > joinTime {
				delete(j.open, key)
			} else if since.IsZero() || w.since.Before(since) {
				oldest, since = key, w.since
			}
		}
		if len(j.open) >= maxJoins {
			delete(j.open, oldest)
		}
	}
	w := &join{since: now, total: -1}
	j.open[k] = w
	return w
}

// add notes a part; false if it overlaps another or the packet's end.
func (w *join) add(offset int, part []byte, more bool) bool {
	end := offset + len(part)
	if !more {
		if w.total >= 0 || end < len(w.data) {
			return false
		}
		w.total = end
	}
	if w.total >= 0 && end > w.total {
		return false
	}
	for len(w.data) < end {
		w.data = append(w.data, make([]byte, end-len(w.data))...)
	}
	blocks := (end + 7) / 8
	for len(w.have) < blocks {
		w.have = append(w.have, false)
	}
	for i := offset / 8; i < blocks; i++ {
		if w.have[i] {
			return false
		}
		w.have[i] = true
	}
	copy(w.data[offset:], part)
	w.got += len(part)
	return true
}

// whole makes the packet without its fragment header.
func (w *join) whole(n *network) []byte {
	if w.header == nil {
		return nil
	}
	if n.src.Is4() {
		b := append(w.header, w.data[:w.total]...)
		if len(b) > 0xFFFF {
			return nil
		}
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[6], b[7] = 0, 0
		return b
	}
	// What stood before the fragment header is not kept but for the IPv6 header.
	b := append(w.header[:packet.IPv6HeaderLen:packet.IPv6HeaderLen], w.data[:w.total]...)
	if w.total > 0xFFFF {
		return nil
	}
	binary.BigEndian.PutUint16(b[4:], uint16(w.total))
	b[6] = n.proto
	return b
}
