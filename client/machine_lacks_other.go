//go:build !linux

package client

import (
	"runtime"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
)

// TidyRouting does nothing: no rules of routing are made here.
func TidyRouting(zerolog.Logger) {}

// RoutingLeft is nothing.
func RoutingLeft() []string { return nil }

// CanMark says whether this process may give sockets a mark, which only Linux has.
func CanMark(mark uint32) bool { return mark == 0 }

// TUNLacks says what of a device this system does not have.
func TUNLacks(*conf.TUN) []Lack {
	switch runtime.GOOS {
	case "darwin", "windows":
		return nil
	}
	return []Lack{{"it needs Linux, macOS or Windows", "leave tun out"}}
}

// TUNDoubts says what is not done here.
func TUNDoubts(t *conf.TUN) (out []Lack) {
	out = append(out, Lack{
		"addresses and routes are not set by mpsocks on this system, nor taken back, and nothing holds the traffic when the client ends",
		"follow what the client logs at its start; bind every path to its interface",
	})
	for _, e := range t.Exclude {
		if !e.To.IsValid() {
			out = append(out, Lack{"tun.exclude: " + e.String() + " needs Linux", "exclude by addresses"})
		}
	}
	return out
}
