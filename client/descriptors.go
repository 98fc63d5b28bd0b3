package client

import "sync/atomic"

// minReserve and reserveShare are how many of the process's descriptors are kept
// from applications: for the subflows, which must come back whatever the
// applications do, the admin listener, and name servers.
const minReserve, reserveShare = 64, 8

// descriptors bounds how many descriptors applications make the client hold, so
// that the tunnel and the operator always find some.
type descriptors struct {
	most    atomic.Int64 // 0: the system has no limit
	used    atomic.Int64
	refused atomic.Uint64
}

func newDescriptors() *descriptors {
	d := new(descriptors)
	if limit := descriptorLimit(); limit > 0 {
		d.most.Store(max(limit-max(limit/reserveShare, minReserve), 1))
	}
	return d
}

// take counts n more, or returns false.
func (d *descriptors) take(n int64) bool {
	if used, most := d.used.Add(n), d.most.Load(); most > 0 && used > most {
		d.used.Add(-n)
		d.refused.Add(1)
		return false
	}
	return true
}

// give undoes one take.
func (d *descriptors) give(n int64) { d.used.Add(-n) }
