package interop

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestPublishRecipe has a visitor from the internet at the ports of docs/recipes/publish.md:
// closed before the client publishes them and while the firewall is as it was, and then with
// the programs of the laptop behind them, also when a path is gone.
func TestPublishRecipe(t *testing.T) {
	t.Parallel()
	haproxy := need(t, "/usr/sbin/haproxy")
	need(t, "nft")
	p := cookbook(t, "publish.md")
	h := newHouse(t)
	h.sh(h.world, `sysctl -q net.ipv4.conf.all.arp_ignore=1
nft add table inet filter
nft add chain inet filter input '{ type filter hook input priority 0; policy drop; }'
nft add rule inet filter input ct state established,related accept
nft add rule inet filter input udp dport 53 accept
nft add rule inet filter input tcp dport 7443 accept
nft add rule inet filter input ip daddr 198.51.100.80 accept`)
	h.sh(h.laptop, "ip route add default via 192.168.8.1 dev wwan0 table 102\nip rule add from "+houseLTE+" table 102")
	ports := regexp.MustCompile(`publish: \[(.*)\]`).FindStringSubmatch(p.block("server.yaml"))
	if ports == nil {
		t.Fatal("the recipe does not say what the server allows")
	}
	h.permit(ports[1])
	h.serve()

	// The programs: an echo for the games, HAProxy of the recipe.
	var games []net.Listener
	var calls []net.PacketConn
	if err := within(h.laptop, func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:25565")
		if err != nil {
			return err
		}
		games = append(games, l)
		for _, port := range []int{25565, 27000, 27010} {
			c, err := net.ListenPacket("udp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return err
			}
			calls = append(calls, c)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, len(games)+len(calls))
	for _, l := range games {
		go func() { // ends with its listener
			mirror(l)
			done <- struct{}{}
		}()
	}
	for _, c := range calls {
		go func() { // ends with its socket
			echoDatagrams(c)
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		for _, l := range games {
			l.Close()
		}
		for _, c := range calls {
			c.Close()
		}
		for range cap(done) {
			<-done
		}
	})
	h.start(h.laptop, haproxy, "-db", "-f", file(t, "haproxy.cfg",
		"defaults\n    timeout connect 5s\n    timeout client 10s\n    timeout server 10s\n"+p.block("haproxy.cfg")))
	h.listens(h.laptop, "127.0.0.1:8443")
	h.connect("paths:\n  - {name: dsl, bind: eth0}\n  - {name: lte, bind: wwan0}\n" +
		// This internet is one machine of several addresses.
		p.block("client.yaml", `listen: ":`, `listen: "`+houseServer+`:`))

	// echoes says whether a text comes back from a port of the server, as a visitor sees it.
	echoes := func(network string, port int) bool {
		return within(h.world, func() error {
			d := net.Dialer{Timeout: time.Second}
			switch network {
			case "tcp":
				d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(houseSite)}
			case "udp":
				d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(houseSite)}
			}
			c, err := d.Dial(network, net.JoinHostPort(houseServer, fmt.Sprint(port)))
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Second))
			if _, err := io.WriteString(c, "a move"); err != nil {
				return err
			}
			_, err = io.ReadFull(c, make([]byte, len("a move")))
			return err
		}) == nil
	}
	if echoes("tcp", 25565) || echoes("udp", 25565) {
		t.Error("the firewall lets visitors in before the recipe does")
	}
	h.sh(h.world, p.block("firewall.sh"))
	all := func(when string) {
		t.Helper()
		for _, door := range []struct {
			network string
			port    int
		}{{"tcp", 25565}, {"udp", 25565}, {"udp", 27000}, {"udp", 27010}} {
			h.until(15*time.Second, fmt.Sprintf("%s %d answers %s", door.network, door.port, when), func() bool { return echoes(door.network, door.port) })
		}
		h.until(15*time.Second, "the web server knows its visitor "+when, func() bool {
			out, _ := h.script(h.world, "curl -q -sS -m 3 --interface "+houseSite+" http://"+houseServer+":8443/")
			return strings.TrimSpace(out) == "hello "+houseSite
		})
	}
	all("with both paths")
	h.ip(h.laptop, "link set eth0 down")
	all("by lte alone")
}
