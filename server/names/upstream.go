package names

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/mux/buf"
	"github.com/mpsocks/mpsocks/mux/gate"
	"github.com/mpsocks/mpsocks/mux/turns"
)

const (
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
)

// questions are those to upstreams, whoever's they are. They are safe for concurrent use.
type questions struct {
	put     func(ctx context.Context, to netip.AddrPort, msg []byte, end int) ([]byte, error) // one, to one of them
	late    turns.Places                                                                      // of those that are under way for queryTimeout; of whom asked first
	own     turns.Holder                                                                      // of late: the server's own
	silence silence                                                                           // of all upstreams

	mu   sync.Mutex                   // guards mute
	mute map[netip.AddrPort]time.Time // those that were silent, and until when they are asked last
}

// exchange asks the upstreams in quick turns and returns the first response that
// decides the matter, with the ID of the query; or the last one that does not, half an
// answer rather than none; or nil. The question ends at query[:end].
func (q *questions) exchange(ctx context.Context, servers []netip.AddrPort, query []byte, end int) []byte {
	if end > len(query) || len(servers) == 0 {
		return nil
	}
	servers = q.lively(servers)
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
			q.silence.unheard(servers)
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
				reply, err := q.put(ctx, to, msg, end)
				if err != nil {
					reply = nil
				}
				results <- result{to, reply}
			}()
			started++
			q.silence.asked()
			if rounds := started / len(servers); started%len(servers) > 0 {
				turn.Reset(turnTime)
			} else {
				turn.Reset(max(roundTime<<(rounds-1)-time.Duration(len(servers)-1)*turnTime, turnTime))
			}
		case <-late.C:
			who := q.asker(ctx)
			if last != nil || !q.late.Take(who) {
				return last
			}
			defer q.late.Give(who)
		case got := <-results:
			ended++
			if started < len(servers) {
				turn.Reset(0) // it is the next one's turn, whatever this one said
			}
			if got.reply == nil {
				continue
			}
			q.silence.answered()
			copy(got.reply, query[:2])
			final := decides(got.reply)
			if final || last == nil || !truncated(last) {
				last = got.reply
			}
			if final {
				q.heard(servers[:min(started, len(servers))], got.from)
				return last
			}
			if started < attempts*len(servers) && started == ended {
				turn.Reset(0)
			}
		case <-ctx.Done():
			return last
		}
	}
	return last
}

// decides says whether another server would hardly say more than a response does.
func decides(reply []byte) bool {
	switch rcode(reply) {
	case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused, dnsmessage.RCodeNotImplemented:
		return false
	}
	return !truncated(reply) && !lame(reply)
}

// lively puts servers that were silent behind the others.
func (q *questions) lively(servers []netip.AddrPort) []netip.AddrPort {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mute) == 0 {
		return servers
	}
	var first, last []netip.AddrPort
	for _, at := range servers {
		if time.Now().Before(q.mute[at]) {
			last = append(last, at)
		} else {
			first = append(first, at)
		}
	}
	return append(first, last...)
}

// heard notes which of the servers that were asked has answered: those before it
// have been silent.
func (q *questions) heard(asked []netip.AddrPort, from netip.AddrPort) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.mute, from)
	for _, at := range asked {
		if at == from {
			return
		}
		if q.mute == nil || len(q.mute) > 4*maxUpstreams { // the file has changed often
			q.mute = make(map[netip.AddrPort]time.Time)
		}
		q.mute[at] = time.Now().Add(muteTime)
	}
}

// ask puts one query to one server, over UDP and, when the answer is too long
// for that, over TCP (RFC 7766). Inside the tunnel there is no such limit: the
// client gets the whole answer in one datagram.
func ask(ctx context.Context, to netip.AddrPort, msg []byte, end int) ([]byte, error) {
	reply, err := converse(ctx, "udp", to, func(c net.Conn) ([]byte, error) { return askUDP(c, msg, end) })
	if err != nil || !truncated(reply) {
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
