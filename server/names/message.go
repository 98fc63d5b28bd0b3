package names

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/net/dns/dnsmessage"
)

// headerLen is that of RFC 1035, Section 4.1.1.
const headerLen = 12

// responds says whether msg is the response to a query: same ID, same question
// but for the case of its letters (RFC 5452, Section 9.1). Some servers repeat
// no question with an error; such a response has the header only.
func responds(msg, query []byte, end int) bool {
	if len(msg) < headerLen || [2]byte(msg) != [2]byte(query) || msg[2]&0x80 == 0 || msg[2]&0x78 != query[2]&0x78 {
		return false
	}
	if binary.BigEndian.Uint16(msg[4:]) == 0 {
		return rcode(msg) != dnsmessage.RCodeSuccess
	}
	const fixed = 4 // type and class
	return len(msg) >= end && equalFold(msg[headerLen:end-fixed], query[headerLen:end-fixed]) && bytes.Equal(msg[end-fixed:end], query[end-fixed:end])
}

// truncated says whether a response is not all that there is (TC).
func truncated(msg []byte) bool { return msg[2]&0x02 != 0 }

// lame says whether a response is that of a server which neither knows the name nor asks others for
// it: no error and nothing else, at most whom else to ask.
func lame(msg []byte) bool {
	const authoritative, recursion = 0x04, 0x80
	answers, additional := binary.BigEndian.Uint16(msg[6:]), binary.BigEndian.Uint16(msg[10:])
	return rcode(msg) == dnsmessage.RCodeSuccess && msg[2]&authoritative == 0 && msg[3]&recursion == 0 && answers+additional == 0
}

// lowered is a letter of a name in lower case. Names in DNS have case in ASCII only, and other bytes
// may be of any kind (RFC 4343).
func lowered(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// lower is a name in lower case.
func lower(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = lowered(c)
	}
	return string(b)
}

// equalFold says whether two names of one length are the same.
func equalFold(a, b []byte) bool {
	for i := range a {
		if lowered(a[i]) != lowered(b[i]) {
			return false
		}
	}
	return true
}

// aged returns a copy of a message with so many seconds less to live, without what is
// additional; nil if it is none.
func aged(raw []byte, age uint32) []byte {
	if len(raw) < headerLen {
		return nil
	}
	out := bytes.Clone(raw)
	count := func(at int) int { return int(binary.BigEndian.Uint16(out[at:])) }
	end := headerLen
	for range count(4) {
		if end = nameEnd(out, end) + 4; end > len(out) {
			return nil
		}
	}
	for range count(6) + count(8) {
		end = nameEnd(out, end)
		if end+10 > len(out) { // type, class, TTL and length (RFC 1035, Section 4.1.3)
			return nil
		}
		ttl := binary.BigEndian.Uint32(out[end+4:])
		binary.BigEndian.PutUint32(out[end+4:], ttl-min(age, ttl))
		if end += 10 + count(end+8); end > len(out) {
			return nil
		}
	}
	clear(out[10:12])
	return out[:end]
}

// nameEnd returns where the name at an offset ends, beyond the message if it is none
// (RFC 1035, Section 4.1.4).
func nameEnd(b []byte, at int) int {
	for at < len(b) {
		switch n := int(b[at]); {
		case n == 0:
			return at + 1
		case n >= 0xC0:
			return at + 2
		case n >= 0x40:
			return len(b) + 1
		default:
			at += 1 + n
		}
	}
	return len(b) + 1
}

// questionEnd returns the length of header and question as RFC 1035 writes
// them, without compression.
func questionEnd(q dnsmessage.Question) int {
	n := int(q.Name.Length) + 1 // a length before each label replaces a dot behind it, and the root
	if n == 2 && q.Name.Data[0] == '.' {
		n = 1
	}
	return headerLen + n + 4
}

func rcode(msg []byte) dnsmessage.RCode { return dnsmessage.RCode(msg[3] & 0xF) }
