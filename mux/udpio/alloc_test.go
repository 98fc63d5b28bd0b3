package udpio

import (
	"net/netip"
	"testing"
)

// An echo allocates nothing, from one end to the other.
func TestEchoDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools drop Buffers")
	}
	for _, local := range []netip.AddrPort{any4, any6} {
		h, after := echoing()
		c := listen(t, startLoop(t, after), local, Options{Offload: true, TOS: true}, h)
		u := plain(t, local)
		dst, p, got := c.LocalAddr(), payload(1200, 1), make([]byte, 2048)
		n := testing.AllocsPerRun(200, func() {
			u.WriteToUDPAddrPort(p, dst)
			if _, _, err := u.ReadFromUDPAddrPort(got); err != nil {
				t.Error(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations per echo", local.Addr(), n)
		}
	}
}
