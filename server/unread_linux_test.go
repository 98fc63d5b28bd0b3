//go:build linux && !mpsocks_portable

package server

import (
	"net"
	"net/netip"
	"testing"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/mux/udpio"
)

// What the kernel holds for mappings that are flooded is charged, if the Loop that reads them does not
// keep up.
func TestUnreadMappingsAreCharged(t *testing.T) {
	loop, err := udpio.NewLoop(zerolog.Nop(), nil) // does not run
	if err != nil {
		t.Fatal(err)
	}
	const mappings, datagrams, size = 3 * kernelPortion, 10, 1000
	out, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	n := &nat{mappings: make(map[uint64]*mapping)}
	for i := range uint64(mappings) {
		c, err := loop.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpio.Options{}, func(*udpio.Conn, []udpio.Message) {})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		n.mappings[i] = &mapping{conn: c}
	}
	before := n.memory()
	if before > mappings*(mappingMemory+4096) {
		t.Errorf("mappings that are silent are charged with %d bytes", before)
	}
	for _, m := range n.mappings {
		for range datagrams {
			if _, err := out.WriteToUDPAddrPort(make([]byte, size), m.conn.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := n.memory() - before; got < mappings*datagrams*size || got > 8*mappings*datagrams*size {
		t.Errorf("%d datagrams of %d bytes wait and are charged with %d", mappings*datagrams, size, got)
	}
}
