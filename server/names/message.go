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
	return len(msg) >= end && equalFold(msg[headerLen:end], query[headerLen:end])
}

// equalFold is bytes.EqualFold for ASCII only, as names in DNS compare (RFC 4343).
func equalFold(a, b []byte) bool {
	lower := func(c byte) byte {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
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
