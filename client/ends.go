package client

import (
	"net/netip"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// endTick is how often ended ports are told of. Each waits for one to two
// ticks: what it sent last may be on a slower path, and would make a mapping
// again if it came later than the news.
const endTick = 500 * time.Millisecond

// ends tells the server which inner ports have ended, so that their mappings
// make room at once: a program with an association for every DNS query fills
// the server's table within an idle time. It is one flow for all ports, since
// the session keeps state for each flow. The news may get lost; the server's
// idle timer is then what ends the mapping.
type ends struct {
	client *Client    // set once at construction
	source mux.Source // of the news itself

	mu         sync.Mutex // guards all following fields
	due, later []endedPort
	timer      *time.Timer // or nil
	running    bool        // the timer, or tick
	stopped    bool
}

// endedPort is a port in the families that it sent in.
type endedPort struct {
	port   innerPort // without owner
	v4, v6 bool
}

// end closes an inner, gives back its port, and notes it for the server if that may
// have a mapping of it.
func (in *inner) end() {
	in.mu.Lock()
	in.closed = true
	p := endedPort{innerPort{host: in.host, port: in.port}, in.sent4, in.sent6}
	in.mu.Unlock()
	in.client.ports.give(&in.innerPort)
	if p.v4 || p.v6 {
		in.client.ends.add(p)
	}
}

func (e *ends) add(p endedPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return // the server frees everything with the session
	}
	e.later = append(e.later, p)
	switch {
	case e.running:
		return
	case e.timer == nil:
		e.timer = time.AfterFunc(endTick, e.tick)
	default:
		e.timer.Reset(endTick)
	}
	e.running = true
}

// tick tells what is due; the timer calls it.
func (e *ends) tick() {
	e.mu.Lock()
	due := e.due
	e.due, e.later = e.later, nil
	e.mu.Unlock()
	e.tell(due)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running = !e.stopped && len(e.due)+len(e.later) > 0; e.running {
		e.timer.Reset(endTick)
	}
}

// tell sends the news of ports, in as few datagrams as they take.
func (e *ends) tell(ended []endedPort) {
	four := news{client: e.client, to: netip.AddrPortFrom(packet.ServerHost4, packet.DiscardPort)}
	six := news{client: e.client, to: netip.AddrPortFrom(packet.ServerHost6, packet.DiscardPort)}
	for i := range ended {
		p := &ended[i]
		if e.client.ports.lookup(p.port.source(hosts4[0])) != nil {
			continue // all ports are in use, so that this one has an owner again
		}
		if p.v4 {
			four.add(&p.port)
		}
		if p.v6 {
			six.add(&p.port)
		}
	}
	four.send()
	six.send()
	if len(ended) > 0 {
		e.client.tunnel.Flush()
	}
}

// stop ends the timer.
func (e *ends) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	if e.timer != nil {
		e.timer.Stop()
	}
}
