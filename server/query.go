package server

import (
	"bytes"

	"github.com/mpsocks/mpsocks/server/names"
)

// query starts to resolve what a client asks; the answer leaves later. The
// goroutine that it starts ends with the answer, or when the session ends.
func (u *uplink) query(p *peer, payload []byte) dropReason {
	if !names.IsQuery(payload) {
		return dropQuery
	}
	give, ok := p.server.resolver.Take(&p.client.names)
	if !ok {
		return u.overloaded(p, payload)
	}
	header, query := u.header, bytes.Clone(payload)
	p.server.work.Go(func() {
		defer give()
		reply := p.server.resolver.Answer(p.ctx, &p.client.names, query)
		if reply == nil || p.ctx.Err() != nil {
			return
		}
		defer p.session.Turn().Give() // a hundred may be answered together
		if packets := p.answer(nil, &header, reply); packets != nil {
			p.session.Send(&p.source, packets)
			p.session.Flush()
		}
	})
	return dropNone
}

// overloaded tells the client at once, so that it need not wait.
func (u *uplink) overloaded(p *peer, payload []byte) dropReason {
	if packets := p.answer(u.answers, &u.header, names.Overloaded(payload)); packets != nil {
		u.answers = packets
	}
	return dropQueries
}
