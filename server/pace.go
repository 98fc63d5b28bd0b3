package server

import (
	"context"
	"io"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/conf"
)

const (
	// pacePiece is how much of a CONNECT passes at once under a rate: streams of one
	// client share it in turns of so much.
	pacePiece = 16 << 10
	// paceBurst is the least that a rate lets through at once: what arrives together
	// is a large datagram, or some dozens.
	paceBurst = 128 << 10
)

// A pace bounds how fast one direction of a client's traffic goes; nil for no bound.
// Datagrams beyond it are dropped, as a slow link would, and CONNECTs wait.
type pace struct {
	limiter atomic.Pointer[rate.Limiter]
	last    *rate.Limiter // the one that paced CONNECTs hold, also while there is no bound; set's
}

// set changes the bound, also for what is under way under one; a tenth of a second's worth
// may come at once. Its calls are made one after the other.
func (p *pace) set(r conf.Rate) {
	perSecond := rate.Limit(r) / 8
	burst := max(int(perSecond/10), paceBurst)
	switch {
	case r <= 0 && p.last == nil:
		return
	case r <= 0:
		p.last.SetLimit(rate.Inf)
		p.limiter.Store(nil)
		return
	case p.last == nil:
		p.last = rate.NewLimiter(perSecond, burst)
	default:
		p.last.SetLimit(perSecond)
		p.last.SetBurst(burst)
	}
	p.limiter.Store(p.last)
}

// reader is r at the pace, until ctx ends; r itself where there is no bound.
func (p *pace) reader(ctx context.Context, r io.Reader) io.Reader {
	if l := p.limiter.Load(); l != nil {
		return pacedReader{ctx, r, l}
	}
	return r
}

// writer is reader for what is written.
func (p *pace) writer(ctx context.Context, w io.Writer) io.Writer {
	if l := p.limiter.Load(); l != nil {
		return pacedWriter{ctx, w, l}
	}
	return w
}

type pacedReader struct {
	ctx     context.Context
	r       io.Reader
	limiter *rate.Limiter
}

func (p pacedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), pacePiece)])
	if n > 0 {
		_ = p.limiter.WaitN(p.ctx, n) // when it fails all ends anyway
	}
	return n, err
}

type pacedWriter struct {
	ctx     context.Context
	w       io.Writer
	limiter *rate.Limiter
}

func (p pacedWriter) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		piece := b[:min(len(b), pacePiece)]
		_ = p.limiter.WaitN(p.ctx, len(piece))
		var m int
		m, err = p.w.Write(piece)
		n, b = n+m, b[m:]
	}
	return n, err
}
