package cli

import (
	"testing"

	"github.com/mpsocks/mpsocks/conf"
)

// Where init has written both files the server's is that of another machine, unless the client's address
// of it is this one's: doctor said of a client's machine that the server's port is free there.
func TestTheServersFileIsOfAnotherMachine(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // no half is written down
	key, err := conf.Generate()
	if err != nil {
		t.Fatal(err)
	}
	other, err := conf.Generate()
	if err != nil {
		t.Fatal(err)
	}
	server := conf.DefaultServer()
	server.PrivateKey = key
	for _, c := range []struct {
		name, file, address string
		key                 conf.PublicKey
		want                bool
	}{
		{"both, for a server elsewhere", "", "192.0.2.1:7443", key.Public(), true},
		{"both, for this machine", "", "127.0.0.1:7443", key.Public(), false},
		{"another server's", "", "192.0.2.1:7443", other.Public(), false},
		{"the file that was named", "server.yaml", "192.0.2.1:7443", key.Public(), false},
	} {
		beside := conf.DefaultClient()
		beside.Server.Addresses, beside.Server.PublicKey = []string{c.address}, c.key
		d := &doctor{ctx: t.Context(), file: c.file, beside: beside}
		if got := d.elsewhere(server); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if (&doctor{ctx: t.Context()}).elsewhere(server) {
		t.Error("the server's alone is of another machine")
	}
}
