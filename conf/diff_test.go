package conf

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of docs/reload.md anew")

// Every setting says what a change of it takes, and docs/reload.md has it.
func TestReloadTable(t *testing.T) {
	for _, ty := range []reflect.Type{reflect.TypeFor[Client](), reflect.TypeFor[Server]()} {
		walk(ty, "", "", func(key string, how Reload, _ []int) {
			switch how {
			case ReloadLive, ReloadNew, ReloadRestart:
			default:
				t.Errorf("%s of %v: its reload tag is %q: write live if a running half takes it over, new if what begins later does, else restart", key, ty, how)
			}
		})
	}
	const file, begin, end = "../docs/reload.md", "<!-- made by go test ./conf -run ReloadTable -update -->\n", "<!-- end -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	table, tail, okToo := strings.Cut(rest, end)
	if !ok || !okToo {
		t.Fatalf("%s lacks the marks of its table", file)
	}
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+reloadTable()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(reloadTable(), table); diff != "" {
		t.Errorf("%s: run go test ./conf -run ReloadTable -update\n%s", file, diff)
	}
}

// reloadTable says for every setting of both halves what a change of it takes, as
// the table of docs/reload.md.
func reloadTable() string {
	var b strings.Builder
	table := func(title string, t reflect.Type) {
		fmt.Fprintf(&b, "### %s\n\n| setting | a change holds |\n|---|---|\n", title)
		meaning := map[Reload]string{
			ReloadLive: "at once", ReloadNew: "for what begins from then on", ReloadRestart: "after a restart",
		}
		walk(t, "", "", func(key string, how Reload, _ []int) {
			fmt.Fprintf(&b, "| `%s` | %s |\n", key, meaning[how])
		})
		b.WriteString("\n")
	}
	table("Client", reflect.TypeFor[Client]())
	table("Server", reflect.TypeFor[Server]())
	return b.String()
}

func TestDiff(t *testing.T) {
	a, b := DefaultServer(), DefaultServer()
	if got := DiffServer(a, b); len(got) != 0 {
		t.Errorf("two that are the same differ: %v", got)
	}
	key := func(n byte) PublicKey { k := make(PublicKey, 32); k[0] = n; return k }
	a.Clients = []Peer{{Name: "ann", PublicKey: key(1)}, {Name: "bob", PublicKey: key(2)}}
	b.Clients = []Peer{{Name: "ann", PublicKey: key(3), file: "x"}, {Name: "cy", PublicKey: key(4)}}
	a.PrivateKey, _ = Generate()
	b.PrivateKey, _ = Generate()
	b.Log = Log{Level: "debug", Format: "json"}
	b.Relay.IdleTimeout = 10 * time.Minute
	b.Relay.Filtering = FilteringAddress
	b.Admin = []Admin{{Addr: netip.MustParseAddrPort("127.0.0.1:9082")}, {Path: "/run/a.sock"}}
	b.Listen = append(b.Listen, Listen{Address: netip.MustParseAddrPort("192.0.2.1:443"), KernelMPTCP: true})
	var got []string
	for _, c := range DiffServer(a, b) {
		got = append(got, c.String())
	}
	want := []string{
		"listen [[::]:7443] -> [[::]:7443, 192.0.2.1:443 (kernel MPTCP)]",
		"private_key has changed",
		"clients[ann].public_key " + key(1).String() + " -> " + key(3).String(),
		"clients[bob] is gone",
		"clients[cy] is new",
		"relay.idle_timeout 5m0s -> 10m0s",
		"relay.filtering endpoint-independent -> address-dependent (for what begins from now on)",
		"admin [] -> [127.0.0.1:9082, unix:/run/a.sock]",
		"log.level info -> debug",
		"log.format auto -> json (holds after a restart only)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Every field of every type that a file has can differ, is told of, and no secret
// stands in what is told.
func TestDiffMissesNothing(t *testing.T) {
	dir := place(t)
	c, err := LoadClient(filepath.Join(dir, "client.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := LoadServer(filepath.Join(dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, changes := range [][]Change{DiffClient(DefaultClient(), c), DiffServer(DefaultServer(), s)} {
		if len(changes) < 15 {
			t.Errorf("only %d changes: %v", len(changes), changes)
		}
		for _, change := range changes {
			for _, secret := range []string{"correct horse", "battery", c.PrivateKey.Text(), s.PrivateKey.Text()} {
				if strings.Contains(change.String(), secret) {
					t.Errorf("%s tells a secret", change)
				}
			}
		}
	}
	other := *c
	other.Users = []User{{Name: "ann", Password: "another"}, c.Users[1]}
	got := DiffClient(c, &other)
	if len(got) != 1 || got[0].String() != "users[ann].password has changed" {
		t.Errorf("a password that has changed: %v", got)
	}
	other = *c
	other.Paths = []Path{c.Paths[1], c.Paths[0]}
	if got := DiffClient(c, &other); len(got) != 1 || got[0].What != "dsl, lte -> lte, dsl" {
		t.Errorf("another order: %v", got)
	}
}

func TestKeep(t *testing.T) {
	a, b := DefaultServer(), DefaultServer()
	a.Log, b.Log = Log{Level: "info", Format: "json"}, Log{Level: "warn", Format: "console"}
	b.Relay.Bind = "eth1"
	KeepServer(a, b)
	if b.Log != (Log{Level: "warn", Format: "json"}) || b.Relay.Bind != "" {
		t.Errorf("%+v", b)
	}
}
