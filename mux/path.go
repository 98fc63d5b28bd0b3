package mux

import (
	"github.com/mpsocks/mpsocks/mux/gauge"
	"github.com/mpsocks/mpsocks/mux/sched"
)

// A path is a way between client and server as this side knows it. Guarded by
// the session's lock.
type path struct {
	cfg     Path
	index   int             // its bit in the scheduler's words
	addrID  uint8           // the client's address ID of RFC 8684
	rate    float64         // bytes a nanosecond that it carries
	seen    bool            // rate was seen while it was full; else a guess
	proven  float64         // delivered lately
	rtt     int64           // least round trip of its subflows, ns
	extra   int64           // one-way queue beyond what our own bytes explain, ns
	flight  int             // bytes of ours in it, see countFlight
	view    sched.Candidate // what its subflows have in common, as listed
	viewed  uint64          // the last time, see fillCandidates
	pacer   gauge.Pacer
	delay   gauge.Delay
	bulkAt  int64 // when it last carried bulk
	judge   gauge.LossJudge
	lossAt  int64   // when it last lost something
	segs    uint64  // sent on its subflows since ackedT
	resent  uint64  // of these, retransmitted
	paced   float64 // what the subflows were told
	ackedT  int64   // when it was last measured
	late    int64   // how long the acknowledgements were under way then
	full    bool    // blocked for much of the last measurement
	busy    int     // bulk subflows that carry something,
	srtt    int64   // and the longest of their round trips, ns,
	least   int64   // and the shortest
	steered int     // answers about delay that the pace has seen
	stuck   int64   // how long bulk subflows were blocked since ackedT, ns
	sent    uint64  // mapped bytes
	share   float64 // of these, the late ones: fades over shareMemory
	gone    bool    // removed from the configuration
	capped  bool    // over its byte cap: carries nothing
	heard   int64   // when something came by it last
	dark    bool    // stalled, and no sign of life since
	doubted int64   // since when only a sign of the peer itself counts; 0 = all do

	proof, stalled int64 // last sign of life and last stall of its subflows, ns

	received uint64 // mapped bytes of subflows that have ended
	octets   uint64 // and their TCP bytes, both ways
}
