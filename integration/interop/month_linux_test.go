package interop

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/integration/bench/halves"
	"github.com/mpsocks/mpsocks/integration/bench/socks"
	"github.com/mpsocks/mpsocks/status"
)

// A monthly is a pair whose clocks are turned a day at a time.
type monthly struct {
	*halves.Pair
	t    *testing.T
	sink string // host:port of what takes all and answers it
}

// status asks a half; one that only begins has none.
func (m *monthly) status(address string) *status.Status {
	m.t.Helper()
	resp, err := m.Get(address, "/status")
	if err != nil {
		return new(status.Status)
	}
	defer resp.Body.Close()
	var s status.Status
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		m.t.Fatal(err)
	}
	return &s
}

// await waits until ok.
func (m *monthly) await(what string, ok func() bool) {
	m.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("never: %s\nthe client said:\n%s\nthe server said:\n%s", what, m.Client.Output(), m.Server.Output())
		}
	}
}

// connects says whether a CONNECT goes through, by which so many bytes go there and back.
func (m *monthly) connects(spend int) bool {
	conn, err := (&socks.Dialer{Proxy: m.Proxy()}).Connect(m.sink)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	wrote := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, spend))
		wrote <- err
	}()
	_, err = io.ReadFull(conn, make([]byte, spend))
	conn.Close()
	return <-wrote == nil && err == nil
}

// rewrite changes a half's file, and has the half read it.
func (m *monthly) rewrite(half *halves.Process, file string, old, with string) {
	m.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		m.t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), old, with)
	if changed == string(text) {
		m.t.Fatalf("%s has no %q:\n%s", file, old, text)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Kill(half.PID(), syscall.SIGHUP); err != nil {
		m.t.Fatal(err)
	}
}

// nextMonth turns both clocks, a day at a time as proofs are good for a day, until they show
// another month.
func (m *monthly) nextMonth() {
	m.t.Helper()
	const month = len("2006-01")
	was := ""
	for range 32 {
		turn(m.t, m.Server, syscall.SIGUSR1)
		shows := turn(m.t, m.Client, syscall.SIGUSR1)[:month]
		if was != "" && shows != was {
			return
		}
		was = shows
	}
	m.t.Fatalf("after 32 days it is still %s", was)
}

// TestMonthTurns: a client that has used its quota has none until the month turns, also
// through a restart of the server, and then has all of it again; paths that have reached
// their caps are closed until then.
func TestMonthTurns(t *testing.T) {
	t.Parallel()
	bin := buildTurnable(t)
	p, err := halves.Start(bin, halves.Config{Dir: t.TempDir(), Paths: halves.TwoPaths(), Allow: loopback, Admin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	m := &monthly{p, t, tcpMirror(t, "127.0.0.1:0")}
	const quota = 1_000_000
	used := func() uint64 {
		for _, c := range m.status(p.ServerAdmin).Clients {
			if c.Quota == quota {
				return c.Used
			}
		}
		return 0
	}
	m.rewrite(p.Server, p.ServerFile, "publish: []}", "publish: [], quota: 1MB}")
	m.await("the server has the quota", func() bool { return used() > 0 })
	m.await("the quota is used", func() bool { return !m.connects(100_000) })
	m.await("that is on the disk", func() bool { // it is written right after
		var kept map[string]struct{ Bytes uint64 }
		text, err := os.ReadFile(filepath.Join(p.Dir, "state", "clients-usage.json"))
		return err == nil && json.Unmarshal(text, &kept) == nil && kept["here"].Bytes >= quota
	})
	p.Server.Kill()
	if err := p.StartServer(); err != nil {
		t.Fatal(err)
	}
	m.await("the client is back", func() bool { return len(m.status(p.ServerAdmin).Sessions) > 0 })
	if m.connects(100) {
		t.Errorf("a server that was killed gives a client its quota again: %d used", used())
	}
	m.nextMonth()
	m.await("the next month has another quota", func() bool { return m.connects(100) })
	m.await("the new month is counted from nothing", func() bool { return used() < quota })

	m.rewrite(p.Server, p.ServerFile, ", quota: 1MB", "")
	m.rewrite(p.Client, p.ClientFile, ", subflows: ", ", monthly_cap: 3MB, subflows: ")
	capped := func() (n int) {
		if s := m.status(p.ClientAdmin).Session; s != nil {
			for _, path := range s.Paths {
				if path.State == status.Capped {
					n++
				}
			}
		}
		return n
	}
	m.await("both paths have reached their caps", func() bool { m.connects(200_000); return capped() == 2 })
	m.nextMonth()
	m.await("the next month opens them", func() bool { return capped() == 0 && m.connects(100) })
}
