package mux

// A path is a way between client and server as this side knows it. Guarded by
// the session's lock.
type path struct {
	cfg    Path
	index  int     // its bit in the scheduler's words
	addrID uint8   // the client's address ID of RFC 8684
	rate   float64 // bytes a nanosecond it was seen to carry
	filled int64   // when a queue was last seen, ns
	rtt    int64   // least round trip of its subflows, ns
	extra  int64   // one-way queue beyond what our own bytes explain, ns
	flight int     // bytes of ours in it, see countFlight
	pacer  pacer
	delay  delayMeter
	bulkAt int64 // when it last carried bulk
	judge  lossJudge
	segs   uint64  // sent on its subflows since ackedT
	resent uint64  // of these, retransmitted
	paced  float64 // what the subflows were told
	acked  uint64  // TCP bytes acknowledged on its bulk subflows, counted up
	ackedT int64   // since when
	stuck  int64   // how long bulk subflows were blocked since then, ns
	sent   uint64  // mapped bytes
	gone   bool    // removed from the configuration
	capped bool    // over its byte cap: carries nothing
	dark   bool    // stalled, and no sign of life since

	proof, stalled int64 // last sign of life and last stall of its subflows, ns

	received uint64 // mapped bytes of subflows that have ended
}
