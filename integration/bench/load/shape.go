//go:build linux

package load

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mpsocks/mpsocks/integration/bench/mmsg"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
)

// mark begins every payload, so that nothing else is taken for an answer.
const mark = 0x6d707362 // "mpsb"

// shape is what the datagrams of a run look like: the SOCKS header, if any,
// then mark, association, slot and generation, then filler. The messages are
// made once; a datagram costs twelve bytes of writing.
type shape struct {
	header   int    // length of the SOCKS header, 0 without a proxy
	expected []byte // the header that answers must carry
	length   int    // of the whole datagram
	messages [mmsg.BatchSize][]byte
}

func newShape(proxied bool, target netip.AddrPort, size int) (shape, error) {
	var s shape
	if size < 20 || size > 1400 {
		return s, fmt.Errorf("payload of %d bytes: 20 to 1,400 are possible", size)
	}
	if proxied {
		var err error
		if s.expected, err = socks.AppendDatagram(nil, target.String(), nil); err != nil {
			return s, err
		}
	}
	s.header = len(s.expected)
	s.length = s.header + size
	for i := range s.messages {
		m := append(make([]byte, 0, s.length), s.expected...)
		m = binary.BigEndian.AppendUint32(m, mark)
		for len(m) < s.length {
			m = append(m, byte(len(m)))
		}
		s.messages[i] = m
	}
	return s, nil
}

// write returns the i-th message of a batch, filled in; it is valid until the
// same i comes again.
func (s *shape) write(i int, association, slot, generation uint32) []byte {
	m := s.messages[i]
	b := m[s.header+4 : s.header+16]
	binary.BigEndian.PutUint32(b, association)
	binary.BigEndian.PutUint32(b[4:], slot)
	binary.BigEndian.PutUint32(b[8:], generation)
	return m
}

// read takes an answer apart; ok is false when it is not one of ours.
func (s *shape) read(b []byte) (association, slot, generation uint32, ok bool) {
	if len(b) != s.length || string(b[:s.header]) != string(s.expected) {
		return 0, 0, 0, false
	}
	b = b[s.header:]
	if binary.BigEndian.Uint32(b) != mark {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]), true
}
