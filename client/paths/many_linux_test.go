package paths

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux"
)

// On a host of containers, which has hundreds of interfaces, to look what a path's has costs little more than to list
// them: each change of any of them has it looked anew.
func TestHostOfContainers(t *testing.T) {
	run := uplinks(t)
	run("link add dsl type veth peer name far")
	run("addr add 192.168.1.2/24 dev dsl")
	run("link set dsl up")
	run("link set far up")
	var batch strings.Builder
	for i := range 150 {
		fmt.Fprintf(&batch, "link add veth%d type veth peer name eth%d\nlink set veth%d up\nlink set eth%d up\n", i, i, i, i)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s", out)
	}
	took := func(f func()) time.Duration {
		var all []time.Duration
		for range 9 {
			begin := time.Now()
			f()
			all = append(all, time.Since(begin))
		}
		return slices.Min(all)
	}
	list := took(func() {
		if _, err := net.Interfaces(); err != nil {
			t.Fatal(err)
		}
	})
	look := took(func() {
		l, names, err := readLinks([]mux.Path{{Name: "a", Interface: "ds*"}, {Name: "b", Interface: "wwan0"}, {Name: "c"}})
		if err != nil || names["ds*"] != "dsl" || len(l["dsl"]) != 1 {
			t.Fatal(l, names, err)
		}
	})
	t.Logf("to list them takes %v, to look %v", list, look)
	if look > 8*list {
		t.Errorf("to look takes %v, to list them %v", look, list)
	}
}
