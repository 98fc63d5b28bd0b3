package routing

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/resolvconf"
)

// resolvedTime is how long systemd-resolved may take for an answer.
const resolvedTime = 3 * time.Second

// names has systemd-resolved, where it runs, ask for all names at the device: its own
// questions are bound to the interface of the server that it asks, so that no rule leads
// them to the tunnel. It forgets that with the device.
type names struct{ told bool }

// set tells it, or takes it back.
func (n *names) set(device string, wanted bool) error {
	if wanted == n.told || !ResolvedHere() {
		return nil
	}
	commands := [][]string{{"revert", device}}
	if wanted {
		commands = [][]string{{"dns", device, packet.ServerHost4.String()}, {"domain", device, "~."}, {"default-route", device, "yes"}}
	}
	for _, args := range commands {
		ctx, cancel := context.WithTimeout(context.Background(), resolvedTime)
		out, err := exec.CommandContext(ctx, "resolvectl", args...).CombinedOutput()
		cancel()
		if err != nil && wanted {
			return fmt.Errorf("resolvectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
	}
	n.told = wanted
	return nil
}

// AsksHere says whether names are asked at a resolver of this machine's own which does not
// say whom it asks, as systemd-resolved does: its questions have no mark.
func AsksHere() bool {
	b, err := os.ReadFile(resolvconf.Path)
	if err != nil {
		return false
	}
	there, err := os.ReadFile(resolvconf.Resolved)
	return hasServer(b, netip.Addr.IsLoopback) && (err != nil || !hasServer(there, resolvconf.Beyond))
}

// hasServer says whether one of the name servers of a resolv.conf(5) is such a one.
func hasServer(file []byte, such func(netip.Addr) bool) bool {
	return slices.ContainsFunc(resolvconf.Parse(string(file)).Servers, such)
}

// ResolvedHere says whether systemd-resolved answers in this network namespace: it knows
// interfaces by numbers, which mean others elsewhere.
func ResolvedHere() bool {
	own, err := os.Readlink("/proc/self/ns/net")
	first, errFirst := os.Readlink("/proc/1/ns/net")
	if err != nil || errFirst != nil || own != first {
		return false
	}
	if _, err := os.Stat("/run/systemd/resolve/stub-resolv.conf"); err != nil {
		return false
	}
	_, err = exec.LookPath("resolvectl")
	return err == nil
}
