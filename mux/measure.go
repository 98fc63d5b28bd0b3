package mux

// What is known of a subflow's TCP connection: the kernel tells, or, where it does
// not, the peer, whose answer to a question says that all before it has come.

// measure reads what the kernel knows of the connection.
func (f *subflow) measure(now int64) {
	if f.closed {
		return
	}
	// Data ACKs come with every packet of a busy session: the kernel is asked
	// only when they are late.
	if f.acknowledge(now, f.acked); f.age(now) > askAfter {
		f.refresh(now)
	}
	every := int64(measureEvery)
	if !f.path.seen && f.tx.outstanding > f.tx.cwnd/2 {
		every = measureStart
	}
	if now-f.measured < every && f.tx.valid {
		return
	}
	f.measured = now
	f.refresh(now)
	var i tcpInfo
	if !f.carrier.info(&i) { // the peer has to tell
		if f.probeSent == 0 && (!f.tx.valid || f.sentRing.una < f.sentRing.tail) {
			f.ping(now)
		}
		return
	}
	t := &f.tx
	f.path.segs += i.segs - t.segs
	f.path.resent += i.retrans - t.retrans
	t.kernel, t.valid, t.segs = true, i.srtt > 0, i.segs
	t.srtt, t.rttvar, t.minRTT = i.srtt, i.rttvar, i.minRTT
	t.cwnd, t.retrans = i.cwnd, i.retrans
	t.rate = float64(i.rate) / 1e9
}

// refresh reads how much the peer's kernel has acknowledged.
func (f *subflow) refresh(now int64) {
	f.refreshed = now
	if f.closed {
		return
	}
	acked := f.acked
	written := f.carrier.written.Load() // first: what is written meanwhile is not acknowledged
	if out, ok := f.carrier.outstanding(); ok {
		f.tx.outstanding = out
		acked = left(written, out)
	}
	f.acknowledge(now, acked)
}

// left returns how much of what was written is no longer outstanding. A write
// that is under way is outstanding before it is counted.
func left(written uint64, outstanding int) uint64 {
	return written - min(uint64(outstanding), written)
}

// stallTime is how long without progress makes the subflow stale.
func (f *subflow) stallTime() int64 {
	t := &f.tx
	if !t.valid {
		return stallUnknown
	}
	return min(max(t.srtt+max(t.srtt, 4*t.rttvar), minStall)+f.hearsay(), maxStall)
}

// overdue says that an acknowledgement should be here after that time.
func (f *subflow) overdue(age int64) bool {
	return age > f.tx.srtt+2*f.tx.rttvar+5e6+f.hearsay()
}

// hearsay is how much later than the kernel this side knows of an
// acknowledgement: one question after the other tells, where the kernel does not.
func (f *subflow) hearsay() int64 {
	if f.tx.kernel {
		return 0
	}
	return f.tx.srtt + measureEvery + int64(tickBusy)
}
