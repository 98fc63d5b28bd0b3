package interop

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestQBittorrent has qBittorrent fetch by uTP from a peer of the world, and then seed for
// another one by the port that is published for it (docs/recipes/bittorrent.md).
func TestQBittorrent(t *testing.T) {
	qbittorrent := need(t, "qbittorrent-nox")
	need(t, "curl")
	needLibtorrent(t)
	script, err := filepath.Abs("testdata/utp.py")
	if err != nil {
		t.Fatal(err)
	}
	p := cookbook(t, "bittorrent.md")
	h := newHouse(t)
	h.permit("6881")
	h.serve()
	h.connect("paths: [{name: dsl, bind: eth0}]\n" + p.block("client.yaml"))

	home := t.TempDir()
	config := filepath.Join(home, ".config", "qBittorrent", "qBittorrent.conf")
	if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
		t.Fatal(err)
	}
	// By uTP alone, and steered from here.
	text := p.block("qBittorrent.conf", "[BitTorrent]\n", "[BitTorrent]\nSession\\BTProtocol=UTP\nSession\\DHTEnabled=false\nSession\\LSDEnabled=false\n") + `
[LegalNotice]
Accepted=true

[Preferences]
WebUI\Address=127.0.0.1
WebUI\Port=8080
WebUI\LocalHostAuth=false
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	leaks := h.leaks()
	h.start(h.laptop, "env", "-u", "XDG_CONFIG_HOME", "-u", "XDG_DATA_HOME", "HOME="+home, qbittorrent)
	h.listens(h.laptop, "127.0.0.1:8080")

	// It fetches, by the proxy.
	seed := newSwarm(t, []string{"ip", "netns", "exec", h.world}, netip.MustParseAddrPort(houseSite+":6999"), 4<<20)
	want, err := os.ReadFile(filepath.Join(seed.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	const api = "curl -q -sSf -m 10 http://127.0.0.1:8080/api/v2/"
	h.sh(h.laptop, api+"torrents/add -F torrents=@"+seed.dir+"/data.torrent -F savepath="+home)
	var hash string
	h.until(20*time.Second, "the torrent is there", func() bool {
		hash = strings.TrimSpace(h.sh(h.laptop, api+"torrents/info | sed -n 's/.*\"hash\":\"\\([0-9a-f]*\\)\".*/\\1/p'"))
		return hash != ""
	})
	h.until(60*time.Second, "all is fetched", func() bool {
		_ = h.try(api + "torrents/addPeers -d hashes=" + hash + " -d peers=" + houseSite + ":6999")
		time.Sleep(300 * time.Millisecond)
		got, _ := os.ReadFile(filepath.Join(home, "data"))
		return bytes.Equal(got, want)
	})
	get := func(from string) {
		t.Helper()
		address, port, _ := strings.Cut(from, ":")
		h.sh(h.world, fmt.Sprintf("rm -rf fetched; cp %s/data.torrent .; %s %s get %s %s .", seed.dir, python, script, address, port))
		if got, err := os.ReadFile(filepath.Join(h.dir, "fetched", "data")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("what a peer got from %s is something else (%v)", from, err)
		}
	}
	// It seeds at the address that others see, by the proxy still.
	var peers []byte
	h.until(10*time.Second, "the seed has seen it", func() bool {
		peers, err = os.ReadFile(filepath.Join(seed.dir, "peers"))
		return err == nil
	})
	first, _, _ := strings.Cut(string(peers), "\n")
	get(first)
	// And, without the proxy, by the published port.
	h.sh(h.laptop, api+"app/setPreferences --data-urlencode 'json={\"proxy_type\":0}'")
	get(houseServer + ":6881")
	for _, packet := range leaks() {
		t.Errorf("went around the tunnel: %s", packet)
	}
}
