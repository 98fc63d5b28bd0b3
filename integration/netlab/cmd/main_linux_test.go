package main

import (
	"os"
	"strings"
	"testing"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

func TestMain(m *testing.M) {
	netlab.Main()
	os.Exit(m.Run())
}

func TestCommands(t *testing.T) {
	if err := netlab.Available(); err != nil {
		t.Skip("no network lab: ", err)
	}
	var out strings.Builder
	in := strings.NewReader("set a rtt 80ms loss 0.01\nset a speed 5\nset z rtt 1ms\nblack_hole a\nrestore a\ndown b\nup b\nrenumber b\nexplode a\nstats\nquit\n")
	if err := run("uneven", in, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ip netns exec mplab-", "field speed not found", "set which path?", "client 10.77.2.3", "explode is no command", "a up "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
	if err := run("nowhere", in, &out); err == nil {
		t.Error("a profile that does not exist was opened")
	}
}
