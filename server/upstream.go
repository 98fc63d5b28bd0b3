package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/buf"
)

const (
	// resolvConfPath is where Unix systems name their upstreams. Where there is
	// no such file, the system's own resolver is asked for addresses.
	resolvConfPath = "/etc/resolv.conf"
	// resolvConfAge is how old what was read may become, as in Go's resolver.
	resolvConfAge = 5 * time.Second
	// maxUpstreams is how many servers are asked, as in the C library.
	maxUpstreams = 3
	// attemptTimeout is how long one server may be silent. A datagram is lost
	// now and then, so every server gets two attempts, in turn.
	attemptTimeout = 1500 * time.Millisecond
	attempts       = 2
)

// resolvConf reads the upstreams of resolv.conf(5) again when the file changes.
type resolvConf struct {
	path string

	mu      sync.Mutex // guards the rest
	checked time.Time
	changed time.Time // the file's modification time
	list    []netip.AddrPort
}

// servers returns the upstreams; none if there is no such file.
func (c *resolvConf) servers() []netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < resolvConfAge {
		return c.list
	}
	c.checked = time.Now()
	info, err := os.Stat(c.path)
	if err != nil {
		c.list, c.changed = nil, time.Time{}
		return nil
	}
	if info.ModTime().Equal(c.changed) {
		return c.list
	}
	text, err := os.ReadFile(c.path)
	if err != nil {
		return c.list
	}
	c.list, c.changed = parseResolvConf(text), info.ModTime()
	return c.list
}

// parseResolvConf takes the nameserver lines.
func parseResolvConf(text []byte) []netip.AddrPort {
	var out []netip.AddrPort
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() && len(out) < maxUpstreams {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, netip.AddrPortFrom(addr, 53))
		}
	}
	return out
}

// exchange asks the upstreams in turn and returns the first response that
// decides the matter, with the ID of the query; or the last one that does not
// (SERVFAIL, REFUSED); or nil. The question ends at query[:end].
func exchange(ctx context.Context, upstreams []netip.AddrPort, query []byte, end int) []byte {
	if end > len(query) {
		return nil
	}
	msg := bytes.Clone(query)
	var last []byte
	for range attempts {
		for _, to := range upstreams {
			// A fresh ID and a fresh port: off-path guessing has to hit both.
			_, _ = rand.Read(msg[:2])
			reply, err := ask(ctx, to, msg, end)
			if ctx.Err() != nil {
				return last
			}
			if err != nil {
				continue
			}
			copy(reply, query[:2])
			last = reply
			switch rcode(reply) {
			case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused, dnsmessage.RCodeNotImplemented:
			default:
				return reply
			}
		}
	}
	return last
}

// ask puts one query to one server, over UDP and, when the answer is too long
// for that, over TCP (RFC 7766). Inside the tunnel there is no such limit: the
// client gets the whole answer in one datagram.
func ask(ctx context.Context, to netip.AddrPort, msg []byte, end int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	reply, err := converse(ctx, "udp", to, func(c net.Conn) ([]byte, error) { return askUDP(c, msg, end) })
	if err != nil || reply[2]&0x02 == 0 { // TC
		return reply, err
	}
	full, err := converse(ctx, "tcp", to, func(c net.Conn) ([]byte, error) { return askTCP(c, msg, end) })
	if err != nil {
		return reply, nil // truncated, but true
	}
	return full, nil
}

// converse runs talk on a connection that ends with ctx.
func converse(ctx context.Context, network string, to netip.AddrPort, talk func(net.Conn) ([]byte, error)) ([]byte, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	c, err := d.DialContext(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return talk(c)
}

func askUDP(c net.Conn, msg []byte, end int) ([]byte, error) {
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	b := buf.Get(buf.MaxSize)
	defer b.Release()
	for {
		n, err := c.Read(b.Bytes())
		if err != nil {
			return nil, err
		}
		if got := b.Bytes()[:n]; responds(got, msg, end) { // else somebody guesses: keep waiting
			return bytes.Clone(got), nil
		}
	}
}

func askTCP(c net.Conn, msg []byte, end int) ([]byte, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	if _, err := c.Write(append(framed, msg...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	reply := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, reply); err != nil {
		return nil, err
	}
	if !responds(reply, msg, end) {
		return nil, errors.New("not the response to this query")
	}
	return reply, nil
}

// responds says whether msg is the response to a query: same ID, same question
// but for the case of its letters (RFC 5452, Section 9.1). Some servers repeat
// no question with an error; such a response has the header only.
func responds(msg, query []byte, end int) bool {
	if len(msg) < dnsHeaderLen || [2]byte(msg) != [2]byte(query) || msg[2]&0x80 == 0 || msg[2]&0x78 != query[2]&0x78 {
		return false
	}
	if binary.BigEndian.Uint16(msg[4:]) == 0 {
		return rcode(msg) != dnsmessage.RCodeSuccess
	}
	return len(msg) >= end && equalFold(msg[dnsHeaderLen:end], query[dnsHeaderLen:end])
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
