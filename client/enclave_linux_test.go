package client

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// A program's class reaches the session with each of its sockets, and none does where
// none was asked for.
func TestEnclaveClass(t *testing.T) {
	c := lonely(t)
	for _, test := range []struct {
		class string
		want  mux.Source
	}{
		{"", mux.Source{User: "iperf3"}},
		{"backup", mux.Source{User: "iperf3", Class: mux.ClassBackup, Asked: true}},
		{"latency", mux.Source{User: "iperf3", Class: mux.ClassLatency, Asked: true}},
	} {
		g, err := newEnclave(c, "iperf3", test.class)
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Open(func(*packet.UDP, []byte, []byte) {})
		if err != nil {
			t.Fatal(err)
		}
		if got := &p.(*enclavePort).source; *got != test.want {
			t.Errorf("class %q: %+v", test.class, got)
		}
		p.Close()
	}
	if g, err := newEnclave(c, "iperf3", "fast"); err == nil {
		t.Errorf("class fast is %v", g.class)
	}
}

// A client refuses a class that it does not know for good, and before it says that the
// device is served.
func TestGrantOfNoClass(t *testing.T) {
	c := lonely(t)
	path := filepath.Join(t.TempDir(), "run.sock")
	l, err := listenGrants(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serveGrants(c.life, c, l) }()
	defer func() { l.Close(); c.stop(); <-done }()
	device, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	err = Borrow(t.Context(), path, "iperf3", "fast", device, func() { t.Error("served all the same") })
	if _, refused := errors.AsType[*Refusal](err); !refused || !strings.Contains(err.Error(), "fast") {
		t.Errorf("a class that there is not: %v", err)
	}
}
