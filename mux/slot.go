package mux

import (
	"context"
	"math/rand/v2"
	"net"
	"time"
)

// A slot is one place for a subflow of a path. Its goroutine dials, joins,
// waits for the end, and begins again; when its subflow is to be replaced it
// makes the new one before it breaks the old one.

const (
	// retireAge and retireBytes end a subflow long before its TLS keys are
	// worn out (2^24.5 records of AES-GCM); crypto/tls never updates them.
	retireAge   = 24 * time.Hour
	retireBytes = 256 << 30
)

// slot is the goroutine. The one that leads finds out whether its path works;
// the others wait for it.
func (c *Client) slot(ctx context.Context, p *clientPath, leads bool) {
	pause, tries := backoffMin, 0
	var old *subflow
	for ctx.Err() == nil {
		if !leads && !c.follow(ctx, p) {
			return
		}
		// A lost SYN goes again after 1, 3, 7 s: short attempts find a path
		// that comes back sooner; every fourth is patient.
		timeout := dialQuick
		if tries%4 == 3 {
			timeout = dialTimeout
		}
		tries++
		if leads {
			c.trying(p, time.Now())
		}
		f, err := c.connect(ctx, p, timeout)
		if leads {
			c.trying(p, time.Time{})
		}
		if old != nil && (err == nil || isDead(old)) {
			old.abandon()
			old = nil
		}
		if err != nil {
			c.complain(ctx, p, err)
			wait := pause/2 + rand.N(pause)/2
			pause = nextPause(pause, err)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			continue
		}
		pause, tries = backoffMin, 0
		retire := time.NewTimer(retireAge + rand.N(retireAge/8))
		select {
		case <-f.dead:
		case <-f.replace:
			old = f
		case <-retire.C:
			old = f
		case <-ctx.Done():
			// Session.Close or remove ends it, after it has told the peer.
			select {
			case <-f.dead:
			case <-time.After(2 * closeLinger):
				f.close()
			}
		}
		retire.Stop()
	}
}

// abandon ends a subflow that has been replaced. One that is stalled is reset:
// its FIN would wait behind what TCP sends again every few seconds.
func (f *subflow) abandon() {
	f.s.mu.Lock()
	stale := f.stale
	f.s.mu.Unlock()
	if tcp, ok := f.carrier.Conn.(*net.TCPConn); ok && stale {
		tcp.SetLinger(0)
	}
	f.close()
}

func isDead(f *subflow) bool {
	select {
	case <-f.dead:
		return true
	default:
		return false
	}
}

// complain logs an error once until it changes.
func (c *Client) complain(ctx context.Context, p *clientPath, err error) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	said := p.bad == err.Error()
	p.bad = err.Error()
	c.mu.Unlock()
	if !said {
		c.cfg.Log.Warn().Str("path", p.way.Name).Err(err).Msg("cannot reach the server by this path")
	}
}
