package mux

import (
	"net/netip"
	"slices"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// An advert is an address that this side announces until the peer echoes it.
type advert struct {
	id     uint8
	addr   netip.AddrPort
	echoed bool
	tries  int
	at     int64
}

const (
	// maxAdverts bounds the attempts for one address, and advertEvery is the time, in
	// ns, between two.
	maxAdverts  = 10
	advertEvery = 1e9
)

// adverts are the addresses that a session announces (RFC 8684, Section 3.4.1). The
// session's lock is held by whoever calls.
type adverts []advert

// again has all of them announced anew, to a peer with other keys.
func (a adverts) again() {
	for i := range a {
		a[i].echoed, a[i].tries = false, 0
	}
}

// due appends the ADD_ADDRs whose time has come.
func (a adverts) due(b []byte, keys *sessionKeys, now int64) []byte {
	for i := range a {
		x := &a[i]
		if x.echoed || x.tries >= maxAdverts || (x.tries > 0 && now-x.at < advertEvery) {
			continue
		}
		x.tries++
		x.at = now
		o := mptcp.AddAddr{ID: x.id, Addr: x.addr.Addr(), Port: x.addr.Port()}
		o.HMAC = mptcp.AddAddrHMAC(keys.local, keys.remote, o.ID, o.Addr, o.Port)
		b = o.Append(b)
	}
	return b
}

// open says that some have no echo yet and are to be sent again.
func (a adverts) open() bool {
	return slices.ContainsFunc(a, func(x advert) bool { return !x.echoed && x.tries < maxAdverts })
}

// echoed notes that the peer has heard of one.
func (a adverts) echoed(id uint8) {
	for i := range a {
		if a[i].id == id {
			a[i].echoed = true
		}
	}
}
