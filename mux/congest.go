package mux

// Congestion control. CUBIC under the pacer neither fills the queue nor stops;
// but random loss drives it out, and there BBR is right, as it is while it is
// not known what the path carries. At rest CUBIC forgets its window (RFC 5681,
// Section 4.1), and what begins afterwards, a QUIC flow in slow start first of
// all, waits behind ten segments a round trip; BBR keeps it.
const (
	ccSmooth = "cubic"
	ccLossy  = "bbr"
	ccRest   = "bbr"

	// lossyRenew is when BBR is begun anew: after 10 s it would stop for 200 ms
	// to see the path's least round trip (PROBE_RTT), which the probes for delay
	// know already. Our pace, or what there is to send, bounds its start.
	lossyRenew = 8e9
)

// congest chooses the congestion control.
func (f *subflow) congest(cc string, now int64) {
	if f.cc == cc && (cc != ccLossy || now-f.ccAt < lossyRenew) {
		return
	}
	if f.cc == cc { // the kernel ignores what it has already
		f.carrier.setCongestion(ccSmooth)
	}
	f.cc, f.ccAt = cc, now
	f.carrier.setCongestion(cc)
}
