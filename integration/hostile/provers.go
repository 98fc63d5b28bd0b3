package main

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/mux/mptcp"
)

// nothing is the control.
func nothing(_ *attacker, until time.Time) (string, string) {
	time.Sleep(time.Until(until))
	return "nothing was done", ""
}

// provers shows a client's proof from everywhere and says no more.
func provers(p *attacker, until time.Time) (string, string) {
	n, _ := each(600, until, func() bool {
		first := hello(p.asClient())
		c, err := dialFrom(from(), p.at)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			return false
		}
		defer c.Close()
		_, _ = c.Write(first)
		_ = c.SetReadDeadline(until)
		_, _ = io.Copy(io.Discard, c)
		return true
	})
	return fmt.Sprintf("%d proofs without a word behind them", n), ""
}

// options sends those that say something of addresses and paths, as many as there is room
// for, with good proofs: addresses that come and go, and paths that rest and do not. A session
// that is cut for it is followed by the next.
func options(p *attacker, until time.Time) (string, string) {
	said := 0
	n := p.repeat(until, func(s *subflow) error {
		for turn := uint32(0); ; {
			var b []byte
			for len(b) < 12<<10 {
				turn++
				b = (&mptcp.Prio{Backup: turn%2 == 0}).Append(b)
				a := mptcp.AddAddr{ID: uint8(turn), Addr: netip.AddrFrom4([4]byte{127, byte(turn >> 16), byte(turn >> 8), byte(turn)}), Port: 22}
				a.HMAC = mptcp.AddAddrHMAC(s.local, s.remote, a.ID, a.Addr, a.Port)
				b = a.Append(b)
				b = (&mptcp.RemoveAddr{IDs: [mptcp.MaxRemove]uint8{uint8(turn), uint8(turn + 1)}, N: 2}).Append(b)
				said += 3
			}
			if _, err := s.Write(b); err != nil {
				return err
			}
		}
	})
	return fmt.Sprintf("%d options in %d sessions", said, n), ""
}

// churn opens sessions and ends them at once.
func churn(p *attacker, until time.Time) (string, string) {
	n, _ := each(16, until, func() bool {
		s, err := p.open()
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			return false
		}
		defer s.Close()
		_, err = s.Write((&mptcp.FastClose{Receiver: s.remote}).Append(nil))
		return err == nil
	})
	return fmt.Sprintf("%d sessions", n), ""
}
