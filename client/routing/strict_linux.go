package routing

import (
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Strict names an interface, other than a device, whose packets the kernel drops if what
// answers them would not go back by it (RFC 3704, rp_filter 1): it asks the rules without
// the mark of the socket. It is "" if there is none.
func Strict(device string) string {
	setting := func(name string) string {
		b, _ := os.ReadFile(filepath.Join("/proc/sys/net/ipv4/conf", name, "rp_filter")) // empty then
		return strings.TrimSpace(string(b))
	}
	everywhere := setting("all")
	list, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range list {
		if i.Name == device || i.Flags&(net.FlagUp|net.FlagLoopback) != net.FlagUp || strings.ContainsAny(i.Name, "/") {
			continue
		}
		if max(everywhere, setting(i.Name)) == "1" { // the larger one counts
			return i.Name
		}
	}
	return ""
}
