package client

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A port that is not to be published any more, while the server has not answered yet, is given up at
// once: the answer was waited for for a minute, by a reload too.
func TestPublicationIsGivenUp(t *testing.T) {
	asked, ended := make(chan struct{}), make(chan struct{})
	c := start(t, &fakeTunnel{exit: func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, packet.PublishRequestLen))
		close(asked)
		_, _ = io.Copy(io.Discard, conn)
		close(ended)
	}}, nil)
	p := newPublication(c, conf.Route{Listen: netip.MustParseAddrPort("[::]:5300"), Proto: conf.ProtoTCP})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	begun := time.Now()
	st, _, err := p.open(ctx, &packet.Publish{Protocol: packet.ProtocolTCP, At: p.route.Load().Listen})
	if err == nil {
		t.Fatalf("it is published: %v", st)
	}
	if took := time.Since(begun); took > exitTime/2 {
		t.Errorf("it is given up after %v", took)
	}
	<-ended
}
