package names

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/server/names/namestest"
)

// TestWhoWaitsForANameHoldsLittle: questions that nobody answers hold no buffer each, which has to
// fit the longest datagram: a client may have hundreds of them.
func TestWhoWaitsForANameHoldsLittle(t *testing.T) {
	silent, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	to := silent.LocalAddr().(*net.UDPAddr).AddrPort()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const asked = 128
	msg := namestest.Question("silent.test.", dnsmessage.TypeA)
	for range asked {
		all.Go(func() { _, _ = ask(ctx, to, msg, len(msg)) })
	}
	b := make([]byte, 512)
	silent.SetReadDeadline(time.Now().Add(20 * time.Second))
	for range asked {
		if _, err := silent.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond) // until they wait
	if held := int64(heap()-before) / asked; held > 16<<10 {
		t.Errorf("%d questions that wait hold %d bytes each", asked, held)
	}
}
