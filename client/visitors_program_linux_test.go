//go:build !mpsocks_portable

package client

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A program that takes only one of its name's addresses is found there, whichever it is: the other one
// refuses, and was asked for as long as the name had it.
func TestProgramAtOneOfTwoAddresses(t *testing.T) {
	program, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip(err)
	}
	defer program.Close()
	c := start(t, &fakeTunnel{answer: echo}, nil)
	port := program.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	v := newVisitors(newPublication(c, conf.Route{Host: "localhost", Port: port, Listen: netip.MustParseAddrPort("[::]:5300"), Proto: conf.ProtoUDP}))
	v.loop = c.loops[0]
	v.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan struct{})
	v.resolve(ctx)
	if to := v.target.Load(); !to.Addr().Is4() {
		t.Fatalf("%v is tried first", to)
	}
	go func() { defer close(followed); v.follow(ctx) }()
	defer func() { cancel(); <-followed }()
	came := make(chan error, 1)
	go func() {
		_ = program.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, _, err := program.ReadFrom(make([]byte, 9))
		came <- err
	}()
	d := deliveries.Get().(*delivery)
	defer deliveries.Put(d)
	for {
		d.udp = packet.UDP{Src: netip.MustParseAddrPort("203.0.113.7:5000")}
		v.receive(d, nil, []byte("hello"))
		d.w.Flush()
		select {
		case err := <-came:
			if err != nil {
				t.Error(err)
			}
			v.table.Lock()
			v.leave()
			v.table.Unlock()
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}
