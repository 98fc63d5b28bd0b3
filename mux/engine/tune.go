package engine

// Congestion control. CUBIC under the pacer (ccSmooth, RFC 9438) neither fills the queue
// nor stops; but random loss drives it out, and there BBR is right (ccLossy), as it is
// while it is not known what the path carries. At rest CUBIC forgets its window (RFC
// 5681, Section 4.1), and what begins afterwards, a QUIC flow in slow start first of
// all, waits behind ten segments a round trip; BBR keeps it (ccRest).
const (
	ccSmooth = "cubic"
	ccLossy  = "bbr"
	ccRest   = "bbr"

	// nearRTT is the round trip, in ns, up to which a path stays with what its connections begin
	// with, CUBIC without a timer (carrier.Untimed): what is lost so near is there again before
	// anybody waits for it, and BBR has a timer for each segment that it sends, which cost more
	// than a tenth of what a stream within a machine took.
	nearRTT = 300e3

	// lossyRenew is when BBR is begun anew: after 10 s it would stop for 200 ms
	// to see the path's least round trip (PROBE_RTT), which the probes for delay
	// know already. Our pace, or what there is to send, bounds its start.
	lossyRenew = 8e9
)

// A Knob is what can be set of a connection, as best effort.
type Knob uint8

// The knobs.
const (
	TuneLowat      Knob = iota // bytes of unsent data that the kernel may hold
	TunePace                   // bytes a nanosecond that it may send; 0 = without a bound
	TuneCongestion             // the congestion control
)

// A Tuning is one setting of a subflow's connection.
type Tuning struct {
	Sub   *Subflow
	What  Knob
	Bytes int     // of TuneLowat
	Rate  float64 // of TunePace
	Name  string  // of TuneCongestion
}

const (
	// MinLowat lets a slow subflow hold one full record, so that it never idles
	// between two writes; maxLowat is lowatTime at 500 Mbit/s.
	MinLowat = 16 << 10
	maxLowat = 256 << 10
	// lowatTime is how much unsent data the kernel may hold, in ns: long enough for
	// a goroutine to wake, short enough to decide late.
	lowatTime = 4e6
)

// hold bounds the unsent data of a subflow.
func (f *Subflow) hold(e *Engine) {
	want := min(max(int(max(f.path.rate, f.tx.rate)*lowatTime), MinLowat), maxLowat)
	if want > f.lowat*5/4 || want < f.lowat*3/4 {
		f.lowat = want
		e.orders.Tune = append(e.orders.Tune, Tuning{Sub: f, What: TuneLowat, Bytes: want})
	}
}

// congest chooses the congestion control.
func (f *Subflow) congest(e *Engine, cc string, now int64) {
	if f.state == Ended || f.ccAsked == cc && (cc != ccLossy || now-f.ccAt < lossyRenew) {
		return
	}
	if f.ccAsked == cc { // the kernel ignores what it has already
		e.orders.Tune = append(e.orders.Tune, Tuning{Sub: f, What: TuneCongestion, Name: ccSmooth})
	}
	f.ccAsked, f.ccAt = cc, now
	e.orders.Tune = append(e.orders.Tune, Tuning{Sub: f, What: TuneCongestion, Name: cc})
}
