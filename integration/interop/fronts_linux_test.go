package interop

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// Other people's programs between programs that know no SOCKS and our port
// (docs/recipes/tun.md).

// front makes a house with a client, whose laptop has the name server of the recipe.
func front(t *testing.T) (*house, *cookbookPage) {
	t.Helper()
	p := cookbook(t, "tun.md")
	if p.block("resolv.conf") != "nameserver "+houseNames+"\n" {
		t.Fatal("the recipe has another name server than the house")
	}
	for _, tool := range []string{"curl", "dig"} {
		need(t, tool)
	}
	h := newHouse(t)
	h.serve()
	h.connect(p.block("client.yaml"))
	return h, p
}

// carries has programs of the laptop reach the world by names, by TCP and by datagrams
// small and large, and nothing of it be seen outside the tunnel.
func (h *house) carries(said *halves.Process) {
	h.t.Helper()
	h.until(20*time.Second, "a name is found, by the front", func() bool {
		select {
		case <-said.Done():
			h.t.Fatalf("the front ended:\n%s", said.Output())
		default:
		}
		return h.try("ip route get "+houseNames+" | grep -q tun0") == nil && h.try("dig +short +time=1 +tries=1 www.example.com | grep -qx "+houseSite) == nil
	})
	leaks := h.leaks()
	if got := h.sh(h.laptop, "curl -q -sS -m 10 http://www.example.com/"); got != "the site" {
		h.t.Errorf("the site is %q", got)
	}
	if got := strings.TrimSpace(h.sh(h.laptop, "dig +short +notcp +time=3 +tries=1 @"+houseNames+" other.example.com")); got != houseSite {
		h.t.Errorf("dig says %q", got)
	}
	h.echoed(8, 1200, 1472, 4000)
	for _, packet := range leaks() {
		h.t.Errorf("went around the tunnel: %s", packet)
	}
}

// echoed has datagrams of these sizes come back to the laptop.
func (h *house) echoed(sizes ...int) {
	h.t.Helper()
	var c net.Conn
	if err := within(h.laptop, func() (err error) {
		c, err = net.Dial("udp4", houseSite+":7")
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	for _, size := range sizes {
		payload := bytes.Repeat([]byte{byte(size)}, size)
		back := false
		for range 3 { // UDP may lose one
			if back = answered(c, payload, 3*time.Second) == nil; back {
				break
			}
		}
		if !back {
			h.t.Errorf("a datagram of %d bytes does not come back", size)
		}
	}
}

func TestTun2socks(t *testing.T) {
	t.Parallel()
	need(t, "tun2socks")
	h, p := front(t)
	h.carries(h.start(h.laptop, "/bin/sh", "-ec", p.block("tun2socks.sh")))
}

func TestSingBox(t *testing.T) {
	t.Parallel()
	singBox := need(t, "sing-box")
	h, p := front(t)
	h.carries(h.start(h.laptop, singBox, "run", "-c", file(t, "sing-box.json", p.block("sing-box.json"))))
}

// TestSingBoxOverTCP has the datagrams of sing-box come in one TCP connection, where UDP
// does not reach the client's relay ports.
func TestSingBoxOverTCP(t *testing.T) {
	t.Parallel()
	singBox := need(t, "sing-box")
	need(t, "nft")
	h, p := front(t)
	h.sh(h.laptop, "nft add table ip shut; nft 'add chain ip shut in { type filter hook input priority 0; }'; nft add rule ip shut in iifname lo meta l4proto udp counter drop")
	if h.try("mpsocks probe --tcp '' --count 1 --timeout 1s") == nil {
		t.Fatal("the relay ports can be reached")
	}
	config := p.block("sing-box.json", `"udp_fragment": true`, `"udp_fragment": true, "udp_over_tcp": true`)
	h.carries(h.start(h.laptop, singBox, "run", "-c", file(t, "sing-box.json", config)))
}

// TestXray has programs with SOCKS use Xray, which uses the client.
func TestXray(t *testing.T) {
	t.Parallel()
	xray := need(t, "xray")
	h, p := front(t)
	h.start(h.laptop, xray, "run", "-c", file(t, "xray.json", p.block("xray.json")))
	h.listens(h.laptop, "127.0.0.1:10808")
	leaks := h.leaks()
	if got := h.sh(h.laptop, "curl -q -sS -m 10 --socks5-hostname 127.0.0.1:10808 http://www.example.com/"); got != "the site" {
		t.Errorf("the site is %q", got)
	}
	t.Log(h.sh(h.laptop, "mpsocks probe --proxy 127.0.0.1:10808 --tcp www.example.com:80 --count 5"))
	for _, packet := range leaks() {
		t.Errorf("went around the tunnel: %s", packet)
	}
}
