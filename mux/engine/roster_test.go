package engine

import "testing"

// A path that brings nothing any more while another does may be dead without a sign of it:
// Data ACKs go by one that is there.
func TestDataAckLeavesSilentPaths(t *testing.T) {
	s := heldBy(2)
	near, far := s.subs[0], s.subs[1]
	near.tx.srtt, far.tx.srtt = 10e6, 50e6
	near.path.heard, far.path.heard = 1e9, 1e9+ackFresh
	if s.AckBy() != near {
		t.Error("not by the nearest path, which has just brought something")
	}
	far.path.heard++
	if s.AckBy() != far {
		t.Error("by a path that is silent while another is not")
	}
	far.path.cfg.Metered = true
	if s.AckBy() != near {
		t.Error("by a metered path although another is up")
	}
}

// Data ACKs spare a path that is to rest, however near it is.
func TestDataAckSparesMeteredPaths(t *testing.T) {
	s := heldBy(2)
	near, far := s.subs[0], s.subs[1]
	near.tx.srtt, far.tx.srtt = 10e6, 50e6
	if s.AckBy() != near {
		t.Error("not by the nearest path")
	}
	near.path.cfg.Metered = true
	if s.AckBy() != far {
		t.Error("by a metered path although another is up")
	}
	far.state = Stalled
	if s.AckBy() != near {
		t.Error("not by the only path")
	}
}
