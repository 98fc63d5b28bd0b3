package cli

import (
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/conf"
)

// A path without its cable is said to be that, as status says it, and no firewall is blamed.
func TestDoctorKnowsTheCable(t *testing.T) {
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("ip is not installed (Debian: iproute2)")
	}
	runtime.LockOSThread() // it is thrown away with its namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("a network namespace takes root: ", err)
	}
	for _, args := range []string{"link add dsl type veth peer name far", "addr add 192.0.2.2/24 dev dsl", "link set dsl up"} {
		if out, err := exec.Command(ip, strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %s", args, out)
		}
	}
	d := &doctor{ctx: t.Context()}
	m := d.knock(conf.Path{Name: "dsl", Bind: "dsl"}, netip.MustParseAddrPort("192.0.2.1:7443"), 0)
	if m == nil || !strings.HasSuffix(m.text, "dsl has no carrier") || m.remedy != "look at its cable or its radio" {
		t.Errorf("%+v", m)
	}
}
