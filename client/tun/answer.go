package tun

import "encoding/binary"

// The resolver in the tunnel gives whole answers, whatever their length. A program that asks by
// UDP has room for 512 bytes, or for as many as its question says (RFC 1035, Section 4.2.1; RFC
// 6891, Section 6.2.3): of a longer answer it gets the records that fit, and is told that there
// are more, so that it asks by TCP (names.go). Some would read no more than they have room for,
// and take the rest for nonsense.

const (
	// leastRoom is what every program has room for.
	leastRoom = 512
	typeOPT   = 41   // RFC 6891, Section 6.1.1
	truncated = 0x02 // of a header's third byte
)

// room is how long an answer to a question may be.
func room(question []byte) int {
	m, ok := parseMessage(question)
	for i := 0; ok && i < m.answers+m.others; i++ {
		at := m.skipName()
		if !m.skipRecord(at) {
			break
		}
		if binary.BigEndian.Uint16(m.b[at:]) == typeOPT {
			return max(leastRoom, int(binary.BigEndian.Uint16(m.b[at+2:])))
		}
	}
	return leastRoom
}

// fit returns an answer that is at most so long, by rewriting it. What is no answer is returned as
// it is.
func fit(answer []byte, most int) []byte {
	if len(answer) <= most {
		return answer
	}
	m, ok := parseMessage(answer)
	if !ok || m.end > most {
		return answer
	}
	end, n := m.end, 0
	for n < m.answers && m.skipRecord(m.skipName()) && m.end <= most {
		end, n = m.end, n+1
	}
	answer[2] |= truncated
	binary.BigEndian.PutUint16(answer[6:], uint16(n))
	clear(answer[8:12]) // no authorities, nothing additional
	return answer[:end]
}

// A message is one of DNS whose questions were read.
type message struct {
	b               []byte
	end             int // of what was read
	answers, others int // records
}

// parseMessage reads a header and the questions; false if it is none.
func parseMessage(b []byte) (m message, ok bool) {
	if len(b) < dnsHeader {
		return m, false
	}
	count := func(at int) int { return int(binary.BigEndian.Uint16(b[at:])) }
	m = message{b, dnsHeader, count(6), count(8) + count(10)}
	for range count(4) {
		if m.end = m.skipName() + 4; m.end > len(b) {
			return m, false
		}
	}
	return m, true
}

// skipName returns where the name at the end of what was read ends, beyond the message if it is
// none (RFC 1035, Section 4.1.4).
func (m *message) skipName() int {
	at := m.end
	for at < len(m.b) {
		switch n := int(m.b[at]); {
		case n == 0:
			return at + 1
		case n >= 0xC0:
			return at + 2
		case n >= 0x40:
			return len(m.b) + 1
		default:
			at += 1 + n
		}
	}
	return len(m.b) + 1
}

// skipRecord reads the record whose name ends there: type, class, TTL, length and so many
// bytes (RFC 1035, Section 4.1.3). False if it does not end within the message.
func (m *message) skipRecord(at int) bool {
	if at+10 > len(m.b) {
		return false
	}
	m.end = at + 10 + int(binary.BigEndian.Uint16(m.b[at+8:]))
	return m.end <= len(m.b)
}
