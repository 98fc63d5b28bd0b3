package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/chatter"
	"github.com/mpsocks/mpsocks/mux/lull"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/tcpio"
	"github.com/mpsocks/mpsocks/status"
)

const (
	// publishSpare is how many streams wait at a published TCP port: so many
	// visitors are let in within one round trip.
	publishSpare = 8
	// publishPause and publishRest are the pauses before the server is asked
	// again: when a stream has ended, and when it has said no.
	publishPause, publishRest = time.Second, 30 * time.Second
	// publishLeast is the least time between two questions, the first of which had a no.
	publishLeast = 100 * time.Millisecond
	// publishDial is how long the program may take to accept a connection.
	publishDial = 10 * time.Second
)

// door is where the server takes streams that publish a port.
var door = netip.AddrPortFrom(packet.ServerHost4, packet.PublishPort)

// publication is one port at the server that leads to a program here.
type publication struct {
	client *Client
	voice  *chatter.Voice             // in the log, of what the server and the program do with it
	route  atomic.Pointer[conf.Route] // its port and protocol stay, where it leads to may change
	moved  chan struct{}              // has room for one: where it leads to has changed
	said   atomic.Int32               // the server's last answer, noAnswer before there is one
	stop   context.CancelFunc         // ends run, nil before it; guarded by publications.mu
}

// noAnswer stands for an answer that has not come.
const noAnswer = -1

// publishWords say why a port is not published.
var publishWords = map[byte]string{
	packet.PublishNotAllowed: "the server does not allow it to this client: its clients[].publish says which ports it does",
	packet.PublishTaken:      "another client, or another program on the server, has it",
	packet.PublishFailed:     "the server could not open it",
}

// newPublication prepares a port that is to be published.
func newPublication(c *Client, r conf.Route) *publication {
	p := &publication{client: c, voice: chatter.NewVoice(), moved: make(chan struct{}, 1)}
	p.route.Store(&r)
	p.said.Store(noAnswer)
	return p
}

// move has the port lead elsewhere: what comes from now on goes there.
func (p *publication) move(r conf.Route) {
	if *p.route.Swap(&r) == r {
		return
	}
	select {
	case p.moved <- struct{}{}:
	default:
	}
}

// run publishes the port until ctx ends.
func (p *publication) run(ctx context.Context) {
	if p.route.Load().Proto == conf.ProtoUDP {
		p.runUDP(ctx)
		return
	}
	p.runTCP(ctx)
}

// ask opens a stream and asks for the port. It returns the stream when the server
// has agreed, and else nil when the pause is over.
func (p *publication) ask(ctx context.Context, q *packet.Publish) stream {
	st, code, err := p.open(ctx, q)
	begun, rest := time.Now(), publishPause
	if err == nil {
		if code == packet.PublishOK {
			p.say(code)
			return st
		}
		// The first no may be of a moment: the port that a reload has given up is
		// not yet free.
		if p.said.Load() == int32(code) {
			rest = publishRest
		}
		p.say(code)
		end := time.Now().Add(rest)
		if again(ctx, st, end) {
			end = begun.Add(publishLeast)
		}
		rest = time.Until(end)
	}
	lull.Pause(ctx, rest)
	return nil
}

// again waits with a stream that was told no, until then at most, and says that it is
// worth while to ask again: the server says so, or the session has ended. A server that
// does not know this ends the stream, and nothing is known then.
func again(ctx context.Context, st stream, until time.Time) bool {
	defer st.Close()
	stop := context.AfterFunc(ctx, st.Reset)
	defer stop()
	if st.SetReadDeadline(until) != nil {
		return false
	}
	var b [1]byte
	_, err := io.ReadFull(st, b[:])
	return err == nil && b[0] == packet.PublishAgain || errors.Is(err, mux.ErrRenewed)
}

// open opens a stream and reads the server's answer.
func (p *publication) open(ctx context.Context, q *packet.Publish) (stream, byte, error) {
	if err := p.client.tunnel.Settled(ctx); err != nil {
		return nil, 0, err
	}
	st, err := p.client.tunnel.OpenStream(ctx, netip.AddrPort{}, door)
	if err != nil {
		return nil, 0, err
	}
	st.Stands(true)
	defer context.AfterFunc(ctx, st.Reset)()
	var code [1]byte
	_, err = st.Write(q.Append(nil))
	if err == nil {
		err = st.SetReadDeadline(time.Now().Add(exitTime))
	}
	if err == nil {
		_, err = io.ReadFull(st, code[:])
	}
	if err == nil {
		err = st.SetReadDeadline(time.Time{})
	}
	if err != nil {
		st.Reset()
		return nil, 0, err
	}
	return st, code[0], nil
}

// line begins a line of the log about what the server or the program does: neither writes
// more of them than a person reads.
func (p *publication) line(level zerolog.Level) *zerolog.Event {
	return p.voice.Line(&p.client.log, level)
}

// say writes the server's answer into the log when it is another one than before.
func (p *publication) say(code byte) {
	if int32(code) == p.said.Swap(int32(code)) {
		return
	}
	r := p.route.Load()
	of := func(event *zerolog.Event) *zerolog.Event {
		return event.Stringer("port", r.Listen).Str("proto", string(r.Proto)).Str("to", r.To())
	}
	if code == packet.PublishOK {
		of(p.line(zerolog.InfoLevel)).Msg("a port of the server leads here now")
		return
	}
	of(p.line(zerolog.WarnLevel)).Str("reason", cmp.Or(publishWords[code], publishWords[packet.PublishFailed])).Msg("a port is not published")
}

// status is what people see of it.
func (p *publication) status() status.Publication {
	r := p.route.Load()
	out := status.Publication{Listen: r.Listen.String(), Proto: string(r.Proto), To: r.To()}
	switch said := p.said.Load(); said {
	case noAnswer:
		out.Problem = "the server has not answered yet"
	case int32(packet.PublishOK):
	default:
		out.Problem = cmp.Or(publishWords[byte(said)], publishWords[packet.PublishFailed])
	}
	return out
}

// runTCP keeps streams waiting at the server, each for one connection.
func (p *publication) runTCP(ctx context.Context) {
	q := packet.Publish{Protocol: packet.ProtocolTCP, At: p.route.Load().Listen}
	waiting := make(chan struct{}, publishSpare)
	for {
		select {
		case waiting <- struct{}{}:
		case <-ctx.Done():
			return
		}
		st := p.ask(ctx, &q)
		if st == nil {
			<-waiting
			if ctx.Err() != nil {
				return
			}
			continue
		}
		if !p.client.crowd.Begin() {
			st.Reset()
			return
		}
		go p.visit(ctx, st, func() { <-waiting })
	}
}

// visit waits with a stream for a connection and leads it to the program; taken
// is called when the stream waits no more. It was started by runTCP; the end of
// the stream stops it.
func (p *publication) visit(ctx context.Context, st stream, taken func()) {
	c := p.client
	defer c.crowd.End()
	stop := context.AfterFunc(ctx, st.Reset)
	var b [packet.PublishVisitorLen]byte
	_, err := io.ReadFull(st, b[:])
	stop()
	if err != nil {
		st.Reset()
		if !errors.Is(err, mux.ErrRenewed) {
			lull.Pause(ctx, publishPause) // a server that ends each at once is not asked all the time
		}
		taken()
		return
	}
	taken()
	st.Stands(false)
	from, to := packet.ParseVisitor(b[:])
	if err := p.lead(st, from, to); err != nil {
		st.Reset()
		c.log.Debug().Err(err).Stringer("visitor", from).Stringer("port", p.route.Load().Listen).Msg("a visitor did not reach the program")
	}
}

// lead connects to the program and copies.
func (p *publication) lead(st stream, from, to netip.AddrPort) error {
	c, r := p.client, p.route.Load()
	who := admission.Holder{User: "publish " + r.Listen.String()}
	if !c.streams.Acquire(who) {
		return errTooManyStreams
	}
	if !c.crowd.Descriptors.Hold(who, 1) {
		c.streams.Release(who)
		return errTooManyDescriptors
	}
	k := &call{client: c, stream: st, holder: who, up: make(chan struct{}), asked: func() {}}
	defer k.end()
	if !c.crowd.Descriptors.Admit() {
		return errTooManyDescriptors
	}
	defer c.crowd.Descriptors.Dismiss()
	ctx, cancel := context.WithTimeout(c.life, publishDial)
	defer cancel()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error { tcpio.Inline(raw); return nil }}
	conn, err := d.DialContext(ctx, "tcp", r.To())
	if err != nil {
		return err
	}
	k.conn = conn.(tcpio.Socket)
	if !c.crowd.Enter(k.conn) {
		return errTooManyDescriptors
	}
	defer c.crowd.Leave(k.conn)
	defer k.conn.Close()
	if r.ProxyProtocol {
		if _, err := k.conn.Write(appendProxyHeader(nil, proxyStream, from, to)); err != nil {
			return fmt.Errorf("tell the program who it is: %w", err)
		}
	}
	k.answered.Store(true)
	go k.upload()
	k.splice()
	return nil
}

// runUDP holds a UDP port at the server.
func (p *publication) runUDP(ctx context.Context) {
	at := p.route.Load().Listen
	v := newVisitors(p)
	v.loop = p.client.loops[0]
	if err := p.client.ports.take(&v.innerPort, v); err != nil {
		p.client.log.Error().Err(err).Stringer("port", at).Msg("a port is not published: too many are in use here")
		return
	}
	p.client.front.visited(v, true)
	defer p.client.front.visited(v, false)
	defer v.close()
	var moves sync.WaitGroup
	moves.Go(func() { v.follow(ctx) })
	defer moves.Wait()
	q := packet.Publish{Protocol: packet.ProtocolUDP, At: at, Host: v.host, Port: v.port}
	for ctx.Err() == nil {
		v.resolve(ctx)
		st := p.ask(ctx, &q)
		if st == nil {
			continue
		}
		stop := context.AfterFunc(ctx, st.Reset)
		io.Copy(io.Discard, st) // until the session or the server ends it
		stop()
		st.Close()
		lull.Pause(ctx, publishPause)
	}
}
