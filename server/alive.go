package server

// alive takes the news of inner ports that are still open at the client, though
// they send nothing: a list as discard's. Their mappings are as good as used, so
// that a program that only listens goes on hearing. It refreshes what there is
// and makes nothing. It is called with p.mu held for reading.
func (u *uplink) alive(p *peer, payload []byte) dropReason {
	return u.named(payload, func(key uint64) {
		if m := p.mappings[key]; m != nil {
			m.sent.Store(u.now)
		}
	})
}
