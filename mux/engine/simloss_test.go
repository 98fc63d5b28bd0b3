package engine

// lose marks what something that was sent later has overtaken.
func (t *tcp) lose() {
	if t.sackedOut == 0 || t.sackedOut < 3 && !t.recovering {
		return
	}
	found := false
	for i := range t.segs {
		s := &t.segs[i]
		if s.sacked || s.lost || s.at > t.rackAt || s.at == t.rackAt && s.seq >= t.rackSeq {
			continue
		}
		s.lost, found = true, true
		t.lostOut++
		t.pipe -= s.n
	}
	if found && !t.recovering {
		t.recovering, t.recover = true, t.next
		t.reduced, t.prrIn, t.prrOut = t.pipe, 0, 0
		if t.ccNow == "bbr" {
			t.bbr.lost(t)
		} else {
			t.cubic.lost(t)
		}
	}
}

// reduce is PRR.
func (t *tcp) reduce(n int) {
	send := 0
	if float64(t.pipe) > t.ssthresh {
		send = int(float64(t.prrIn)*t.ssthresh/float64(max(t.reduced, 1))) - t.prrOut
	} else {
		send = int(min(t.ssthresh-float64(t.pipe), float64(max(t.prrIn-t.prrOut, n)+mss)))
	}
	t.cwnd = float64(t.pipe + max(send, 0))
}

// watch is the timers: the probe for a lost tail, and the retransmission.
func (t *tcp) watch() {
	if t.dead || len(t.segs) == 0 {
		t.rtoSet = false
		return
	}
	due := t.rtoAt
	if tail := max(t.sentAt, t.rtoAt-t.rto) + 2*t.srtt + 2e6; t.srtt > 0 && !t.probed && !t.recovering && tail < due {
		due = tail
	}
	if t.w.now < due {
		t.w.at(due, t.watch)
		return
	}
	if t.w.now < t.rtoAt {
		t.probed = true
		if last := len(t.segs) - 1; !t.segs[last].sacked {
			if t.segs[last].lost {
				t.segs[last].lost = false
				t.lostOut--
				t.pipe += t.segs[last].n
			}
			t.emit(last, 0)
		}
		t.w.at(t.w.now+1e6, t.watch)
		return
	}
	for i := range t.segs {
		if s := &t.segs[i]; !s.sacked && !s.lost && (i == 0 || t.w.now-s.at > t.srtt) {
			s.lost = true
			t.lostOut++
			t.pipe -= s.n
		}
	}
	if !t.timedOut {
		t.timeoutAt, t.before = t.w.now, [2]float64{t.cwnd, t.ssthresh}
		if t.ccNow == "bbr" {
			t.bbr.timeout(t)
		} else {
			t.cubic.lost(t)
		}
	}
	t.cwnd = float64(t.pipe + mss)
	t.recovering, t.timedOut, t.recover = true, true, t.next
	t.sendAt = 0
	t.rto = min(2*t.rto, 60e9)
	t.rtoAt = t.w.now + t.rto
	t.w.at(t.rtoAt, t.watch)
	t.push()
}
