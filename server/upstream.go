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
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/turns"
)

const (
	// resolvConfPath is where Unix systems name their upstreams. Where there is
	// no such file, the system's own resolver is asked for addresses.
	resolvConfPath = "/etc/resolv.conf"
	// resolvConfAge is how old what was read may become, as in Go's resolver.
	resolvConfAge = 5 * time.Second
	// maxUpstreams is how many servers are asked, and maxSearch how many names a
	// search list may make of one, as in the C library.
	maxUpstreams, maxSearch = 3, 6
	// turnTime is how long a server may be silent before the next one is asked
	// too: most answers that an upstream knows come in less. A datagram is lost now
	// and then, so all are asked again, as often as attempts says and roundTime apart at
	// first; and while nobody has said anything further times, each pause twice as long, with
	// mostAsked questions in all.
	turnTime  = 200 * time.Millisecond
	roundTime = time.Second
	attempts  = 2
	mostAsked = attempts * maxUpstreams
	// muteTime is how long a server that was silent is asked last.
	muteTime = 30 * time.Second
	// maxNdots is what the C library takes (RES_MAXNDOTS).
	maxNdots = 15
)

// nameConfig is what resolv.conf(5) says.
type nameConfig struct {
	servers []netip.AddrPort
	search  []string // in lower case, without final dots
	ndots   int      // a name with so many dots is asked for as it is first
}

// candidates are the names to ask for, in turn, until one exists: the host itself
// and what the search list makes of it.
func (c nameConfig) candidates(host string) []string {
	plain := strings.TrimSuffix(host, ".") + "."
	var longer []string
	for _, suffix := range c.search {
		if name := plain + suffix + "."; len(name) <= 254 && plain != "." {
			longer = append(longer, name)
		}
	}
	if strings.Count(plain, ".")-1 >= c.ndots {
		return append([]string{plain}, longer...)
	}
	return append(longer, plain)
}

// resolvConf reads resolv.conf(5) again when the file changes.
type resolvConf struct {
	path string

	mu      sync.Mutex // guards the rest
	checked time.Time
	changed time.Time // the file's modification time
	config  nameConfig
}

// read returns what the file says; no servers if there is no such file.
func (c *resolvConf) read() nameConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < resolvConfAge {
		return c.config
	}
	c.checked = time.Now()
	info, err := os.Stat(c.path)
	if err != nil {
		c.config, c.changed = nameConfig{}, time.Time{}
		return c.config
	}
	if info.ModTime().Equal(c.changed) {
		return c.config
	}
	text, err := os.ReadFile(c.path)
	if err != nil {
		return c.config
	}
	c.config, c.changed = parseResolvConf(text), info.ModTime()
	return c.config
}

// parseResolvConf takes the lines nameserver, search, domain and options ndots.
func parseResolvConf(text []byte) nameConfig {
	out := nameConfig{ndots: 1}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(fields[1]); err == nil && len(out.servers) < maxUpstreams {
				out.servers = append(out.servers, netip.AddrPortFrom(addr, 53))
			}
		case "search", "domain": // the last one counts
			out.search = nil
			for _, s := range fields[1:] {
				if s = strings.ToLower(strings.Trim(s, ".")); s != "" && len(out.search) < maxSearch {
					out.search = append(out.search, s)
				}
			}
		case "options":
			for _, o := range fields[1:] {
				if n, err := strconv.Atoi(strings.TrimPrefix(o, "ndots:")); err == nil && strings.HasPrefix(o, "ndots:") {
					out.ndots = min(max(n, 0), maxNdots)
				}
			}
		}
	}
	return out
}

// askerKey is that of a context's *turns.Holder.
type askerKey struct{}

// asks has the late questions of a context count as those of a holder of resolver.late.
func asks(ctx context.Context, h *turns.Holder) context.Context {
	return context.WithValue(ctx, askerKey{}, h)
}

// asker is whose the late questions of a context are; those of nobody are the server's own.
func (r *resolver) asker(ctx context.Context) *turns.Holder {
	if h, ok := ctx.Value(askerKey{}).(*turns.Holder); ok {
		return h
	}
	return &r.own
}

// exchange asks the upstreams in quick turns and returns the first response that
// decides the matter, with the ID of the query; or the last one that does not
// (SERVFAIL, REFUSED); or nil. The question ends at query[:end].
func (r *resolver) exchange(ctx context.Context, servers []netip.AddrPort, query []byte, end int) []byte {
	if end > len(query) || len(servers) == 0 {
		return nil
	}
	servers = r.lively(servers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the attempts that lost
	type result struct {
		from  netip.AddrPort
		reply []byte
	}
	results := make(chan result, mostAsked)
	turn, late := time.NewTimer(0), time.NewTimer(queryTimeout)
	defer turn.Stop()
	defer late.Stop()
	var last []byte
	defer func() {
		if last == nil {
			r.silence.unheard(servers)
		}
	}()
	for started, ended := 0, 0; ended < started || started < attempts*len(servers); {
		select {
		case <-turn.C:
			if started == mostAsked {
				continue
			}
			to := servers[started%len(servers)]
			go func() { // until it has an answer, or ctx
				// A fresh ID and a fresh port: off-path guessing has to hit both.
				msg := bytes.Clone(query)
				_, _ = rand.Read(msg[:2])
				reply, err := r.put(ctx, to, msg, end)
				if err != nil {
					reply = nil
				}
				results <- result{to, reply}
			}()
			started++
			r.silence.asked()
			if rounds := started / len(servers); started%len(servers) > 0 {
				turn.Reset(turnTime)
			} else {
				turn.Reset(max(roundTime<<(rounds-1)-time.Duration(len(servers)-1)*turnTime, turnTime))
			}
		case <-late.C:
			who := r.asker(ctx)
			if last != nil || !r.late.Take(who) {
				return last
			}
			defer r.late.Give(who)
		case got := <-results:
			ended++
			if started < len(servers) {
				turn.Reset(0) // it is the next one's turn, whatever this one said
			}
			if got.reply == nil {
				continue
			}
			r.silence.answered()
			copy(got.reply, query[:2])
			last = got.reply
			switch rcode(got.reply) {
			case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused, dnsmessage.RCodeNotImplemented:
				if started < attempts*len(servers) && started == ended {
					turn.Reset(0)
				}
			default:
				r.heard(servers[:min(started, len(servers))], got.from)
				return got.reply
			}
		case <-ctx.Done():
			return last
		}
	}
	return last
}

// lively puts servers that were silent behind the others.
func (r *resolver) lively(servers []netip.AddrPort) []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mute) == 0 {
		return servers
	}
	var first, last []netip.AddrPort
	for _, at := range servers {
		if time.Now().Before(r.mute[at]) {
			last = append(last, at)
		} else {
			first = append(first, at)
		}
	}
	return append(first, last...)
}

// heard notes which of the servers that were asked has answered: those before it
// have been silent.
func (r *resolver) heard(asked []netip.AddrPort, from netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mute, from)
	for _, at := range asked {
		if at == from {
			return
		}
		if r.mute == nil || len(r.mute) > 4*maxUpstreams { // the file has changed often
			r.mute = make(map[netip.AddrPort]time.Time)
		}
		r.mute[at] = time.Now().Add(muteTime)
	}
}

// ask puts one query to one server, over UDP and, when the answer is too long
// for that, over TCP (RFC 7766). Inside the tunnel there is no such limit: the
// client gets the whole answer in one datagram.
func ask(ctx context.Context, to netip.AddrPort, msg []byte, end int) ([]byte, error) {
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
	for {
		if err := gate.AwaitUnread(c); err != nil {
			return nil, err
		}
		got, err := heardFrom(c, msg, end)
		if got != nil || err != nil {
			return got, err
		}
	}
}

// heardFrom reads a datagram, and returns nil if that is not the response to msg: somebody guesses.
func heardFrom(c net.Conn, msg []byte, end int) ([]byte, error) {
	b := buf.Get(buf.MaxSize)
	defer b.Release()
	n, err := c.Read(b.Bytes())
	if err != nil || !responds(b.Bytes()[:n], msg, end) {
		return nil, err
	}
	return bytes.Clone(b.Bytes()[:n]), nil
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
