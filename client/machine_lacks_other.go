//go:build !linux

package client

import (
	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
)

// TidyRouting does nothing: no rules of routing are made here.
func TidyRouting(zerolog.Logger) {}

// RoutingLeft is nothing.
func RoutingLeft() []string { return nil }

// CanMark says whether this process may give sockets a mark, which only Linux has.
func CanMark(mark uint32) bool { return mark == 0 }

// TUNLacks says that a device needs Linux.
func TUNLacks(*conf.TUN) []Lack { return []Lack{{"it needs Linux", "leave tun out"}} }

// TUNDoubts is nothing.
func TUNDoubts(*conf.TUN) []Lack { return nil }
