package client

import (
	"bytes"
	"net/netip"
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
