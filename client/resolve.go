package client

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/txthinking/socks5"

	"github.com/mpsocks/mpsocks/client/admission"
)

// cmdResolve asks for a name's address, in a reply's bound address: Tor's extension of SOCKS5
// (socks-extensions.txt, Section 2), by which torsocks has all names resolved.
const cmdResolve = 0xf0

var (
	errNoHost    = errors.New("there is no such host")
	errNoAnswers = errors.New("names cannot be asked for now")
)

// resolve serves a request for the address of a name.
func (a *caller) resolve(user string, req *socks5.Request) error {
	addr, ok := literalName(req)
	switch {
	case ok:
	case req.Atyp != socks5.ATYPDomain:
		addr, _ = netip.AddrFromSlice(req.DstAddr)
	default:
		var err error
		if addr, err = a.lookup(user, hostOf(req)); err != nil {
			return replyError{repHost, err}
		}
	}
	if err := writeReply(a.conn, repSuccess, netip.AddrPortFrom(addr, 0)); err != nil {
		return err
	}
	linger(a.conn)
	return nil
}

// lookup returns the address of a host for an application; a failure is counted.
func (a *caller) lookup(user string, host []byte) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(a.client.life, handshakeTime)
	defer cancel()
	addr, err := a.client.names.lookup(ctx, admission.HolderOf(user, addrOf(a.conn.RemoteAddr()).Addr()), host)
	if err != nil {
		a.client.failed.Add(1)
	}
	return addr, err
}

// resolve4 is resolve by SOCKS4A, whose replies have room for IPv4 only.
func (a *caller) resolve4(q request4) error {
	addr, err := q.addr, error(nil)
	if q.host != "" {
		addr, err = a.lookup("", []byte(q.host))
	}
	if err == nil && !addr.Is4() {
		err = errNoHost
	}
	if err != nil {
		reply4(a.conn, socks4Failed, netip.AddrPort{})
		return err
	}
	reply4(a.conn, socks4Granted, netip.AddrPortFrom(addr, 0))
	return nil
}

// lookup returns the address of a host for a holder, waiting for the answer if it has to be asked for.
func (t *names) lookup(ctx context.Context, by admission.Holder, host []byte) (netip.Addr, error) {
	n := t.find(host)
	if n == nil {
		return netip.Addr{}, errNoHost
	}
	if a := n.answer.Load(); a == nil || time.Now().After(a.fresh) {
		told := t.tell(n, by)
		if told == nil {
			return netip.Addr{}, errNoAnswers
		}
		t.client.tunnel.Flush()
		select {
		case <-told:
		case <-ctx.Done():
			return netip.Addr{}, ctx.Err()
		}
	}
	a := n.answer.Load()
	if a == nil || !a.addr.IsValid() {
		return netip.Addr{}, errNoHost
	}
	return n.choose(a, time.Now()), nil
}

// tell asks for a name, and returns what is closed when its answer is there; nil if it
// cannot be asked for.
func (t *names) tell(n *name, by admission.Holder) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped || !t.ask(n, by, time.Now()) {
		return nil
	}
	if n.told == nil {
		n.told = make(chan struct{})
	}
	return n.told
}
