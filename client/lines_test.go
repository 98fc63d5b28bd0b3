package client

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/chatter"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// mostLines is more than what one peer may make the log have within a test.
const mostLines = 80

// A server that gives a port and takes it away without end does not fill the client's log.
func TestLinesOfPublishedPorts(t *testing.T) {
	var said bytes.Buffer
	p := &publication{client: &Client{log: zerolog.New(&said).Level(zerolog.InfoLevel)}, voice: chatter.NewVoice()}
	p.route.Store(&conf.Route{Listen: netip.MustParseAddrPort("192.0.2.1:80"), Host: "127.0.0.1", Port: 80})
	for range 1000 {
		p.say(packet.PublishOK)
		p.say(packet.PublishFailed)
	}
	if n := bytes.Count(said.Bytes(), []byte("\n")); n == 0 || n > mostLines {
		t.Errorf("%d lines", n)
	}
}

// A server that ends each stream that publishes a port, or says again and again that it is worth while
// to ask anew, is not asked all the time.
func TestPublishingHasPauses(t *testing.T) {
	for name, answer := range map[string][]byte{
		"yes, and the end": {packet.PublishOK},
		"no, but ask":      {packet.PublishFailed, packet.PublishAgain},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			c := start(t, &fakeTunnel{answer: echo, exit: func(conn net.Conn) {
				if _, err := io.ReadFull(conn, make([]byte, packet.PublishRequestLen)); err == nil {
					asked.Add(1)
					conn.Write(answer)
				}
			}}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 5*publishLeast)
			defer cancel()
			newPublication(c, conf.Route{Listen: netip.MustParseAddrPort("192.0.2.1:80"), Host: "127.0.0.1", Port: 80}).runTCP(ctx)
			if n := asked.Load(); n == 0 || n > 2*publishSpare {
				t.Errorf("it was asked %d times in half a second", n)
			}
		})
	}
}
