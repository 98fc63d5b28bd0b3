//go:build !linux

package mux

import "net"

// tcpInfo is what the engine uses of TCP_INFO on Linux; elsewhere in-band
// probes measure.
type tcpInfo struct {
	srtt, rttvar, minRTT int64
	cwnd                 int
	rate                 uint64
	retrans, segs        uint64
	sacked               uint64
}

func (k *carrier) info(*tcpInfo) bool       { return false }
func (k *carrier) outstanding() (int, bool) { return 0, false }
func (k *carrier) setCongestion(string)     {}
func (k *carrier) setPace(float64)          {}
func (k *carrier) setLowat(int)             {}
func tune(net.Conn)                         {}
