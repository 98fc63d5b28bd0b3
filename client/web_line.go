package client

import (
	"bytes"
	"strings"
)

// A path may have a % that begins no escape: browsers send an address as it stands in a page,
// and origins take it. net/http refuses the request, so that it gets the line of each with
// such a % written out, and the origin the one that came.

// spellOut returns what came at the beginning of a request with its path spelled out, and the
// target as it was; "" where nothing is to be done. A line of which more is to come is left
// alone, and so is what is no line of a request to an origin.
func spellOut(came []byte) (out []byte, target string) {
	line, _, whole := bytes.Cut(came, []byte("\n"))
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if !whole || first < 0 || first == last || !bytes.HasPrefix(line[last+1:], []byte("HTTP/1.")) {
		return nil, ""
	}
	target = string(line[first+1 : last])
	spelled := spelledOut(target)
	if spelled == target {
		return nil, ""
	}
	out = append(append([]byte(nil), came[:first+1]...), spelled...)
	return append(out, came[last:]...), target
}

// spelledOut is an absolute URI of HTTP with the % of its path that begin no escape as escapes.
func spelledOut(uri string) string {
	const scheme = "http://"
	if len(uri) < len(scheme) || !strings.EqualFold(uri[:len(scheme)], scheme) {
		return uri
	}
	slash := strings.IndexByte(uri[len(scheme):], '/')
	if slash < 0 {
		return uri
	}
	path, query := uri[len(scheme)+slash:], ""
	if mark := strings.IndexByte(path, '?'); mark >= 0 {
		path, query = path[:mark], path[mark:]
	}
	var b strings.Builder
	b.WriteString(uri[:len(scheme)+slash])
	for i := range len(path) {
		b.WriteByte(path[i])
		if path[i] == '%' && (i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2])) {
			b.WriteString("25")
		}
	}
	b.WriteString(query)
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// begun takes the n bytes that were read at the beginning of a request, and returns how many
// there are then; the rest waits.
func (c *webConn) begun(b []byte, n int) int {
	out, target := spellOut(b[:n])
	if c.target = target; target == "" {
		return n
	}
	n = copy(b, out)
	c.rest = out[n:]
	return n
}

// asWritten is the target of a request as its program wrote it.
func (c *webConn) asWritten(uri string) string {
	if c.target != "" && spelledOut(c.target) == uri {
		return c.target
	}
	return uri
}
