package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mpsocks/mpsocks/conf"
)

// A client for one program, or one that tries a path, takes nothing in: no port here, none
// at the server, no device.
func TestTunnelOnly(t *testing.T) {
	text, err := os.ReadFile("../conf/testdata/client.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "client.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.LoadClient(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Listen) == 0 || len(c.Forwards) == 0 || len(c.Publish) == 0 {
		t.Fatal("an example of less than there is")
	}
	tunnelOnly(c)
	if len(c.Listen)+len(c.Forwards)+len(c.Publish)+len(c.Admin)+len(c.Redirect.Listen) > 0 || c.TUN.Device != "" || c.RunSocket != "off" {
		t.Errorf("listen %v, forwards %v, publish %v, admin %v, redirect %v, tun %q, run_socket %q",
			c.Listen, c.Forwards, c.Publish, c.Admin, c.Redirect.Listen, c.TUN.Device, c.RunSocket)
	}
	if len(c.Paths) == 0 || len(c.Server.Addresses) == 0 {
		t.Error("it has no way to a server any more")
	}
}
