package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
)

// TestServerKeyByHand changes a server's key as docs/operations.md says, step by step, with
// a call and a connection under way: nothing of them is lost or cut, and subflows that are made
// anew prove the new key, and who trusts the old one alone does not come in any more.
func TestServerKeyByHand(t *testing.T) {
	t.Parallel()
	text := read(t, "../../docs/operations.md")
	for _, step := range []string{
		"1. `mpsocks keygen --out server.key.new` on the server", "2. Give every client both: `server: {public_keys: [OLD, NEW]}`, and reload it.",
		"3. When the last one has it, put the new private key into `server.yaml` and reload the server.", "4. Take OLD out of the clients' files",
	} {
		if !strings.Contains(text, step) {
			t.Errorf("docs/operations.md does not say %q any more: change this test with it", step)
		}
	}
	p, c := beginCutWith(t, halves.Config{Admin: true})
	w := &workshop{Config: p.Config, t: t}
	echo := tcpServer(t, "127.0.0.1:0", mirror)
	talk := connect(t, p.Socks[0], echo.String())
	eventually(t, 10*time.Second, "all paths carry", c.allCarry)
	datagrams := startStream(t, p, udpEcho(t, "127.0.0.1:0"))
	goes := func(step string) {
		t.Helper()
		if !echoes(talk) {
			t.Fatalf("%s: the connection is cut", step)
		}
	}
	goes("before")

	file := filepath.Join(p.Dir, "server.key.new")
	out := does(t, "keygen", "--out", file)
	_, fresh, ok := strings.Cut(strings.TrimSpace(out), ": ")
	if !ok || len(fresh) != 44 {
		t.Fatalf("keygen prints %q", out)
	}
	_, old, _ := strings.Cut(lineOf(t, p.ClientFile, "  public_key:"), ": ")

	w.edit(p.ClientFile, func(s string) string { return replaceLine(s, "  public_key:", "  public_keys: ["+old+", "+fresh+"]") })
	does(t, "reload", "-c", p.ClientFile)
	goes("with both keys")

	private, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w.edit(p.ServerFile, func(s string) string {
		return replaceLine(s, "private_key:", "private_key: "+strings.TrimSpace(string(private)))
	})
	if out := does(t, "reload", "-c", p.ServerFile); strings.Contains(out, strings.TrimSpace(string(private))) || !strings.Contains(out, "private_key") {
		t.Errorf("the reload says\n%s", out)
	}
	goes("with the server's new key")
	if sent, missing, _ := datagrams.finish(5 * time.Second); missing > 0 {
		t.Errorf("%d of %d datagrams are lost", missing, sent)
	}
	// Each path in turn is cut, so that all subflows are made anew.
	for i := range wayCount {
		c.set(way(i), cut)
		c.set(way(i), healthy)
		eventually(t, 15*time.Second, way(i)+" is back", func() bool { return c.carries(way(i)) })
		goes("with " + way(i) + " anew")
	}

	w.edit(p.ClientFile, func(s string) string { return replaceLine(s, "  public_keys:", "  public_keys: ["+fresh+"]") })
	does(t, "reload", "-c", p.ClientFile)
	goes("without the old key")
	if strings.Contains(p.Server.Output(), "session ended") {
		t.Error("a session has ended meanwhile")
	}

	// Who has only the old key is told.
	late := filepath.Join(t.TempDir(), "client.yaml")
	w.edit(late, func(string) string {
		s := replaceLine(read(t, p.ClientFile), "  public_keys:", "  public_key: "+old)
		s = replaceLine(s, "listen:", `listen: ["`+ports(t, 1)[0].String()+`"]`)
		return replaceLine(replaceLine(s, "admin:", ""), "state_dir:", "state_dir: "+filepath.Dir(late))
	})
	said := w.start("client", "-c", late)
	eventually(t, 15*time.Second, "a client with the old key alone is told", func() bool { return strings.Contains(said(), "the server's key differs") })
}
