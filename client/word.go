package client

import (
	"net/netip"

	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/status"
)

// maxWord is how much of what the server says is repeated, in bytes.
const maxWord = 300

// takeWord takes what the server says for a person to read, of its client's quota for one, which comes from a port of its own to one that no
// program gets; false if the packet is something else.
func takeWord(c *Client, h *packet.UDP, payload []byte) bool {
	if h.Src != netip.AddrPortFrom(packet.ServerHost4, packet.WordPort) || h.Dst != netip.AddrPortFrom(packet.ClientHost4, packet.DiscardPort) {
		return false
	}
	text := status.Plain(string(payload[:min(len(payload), maxWord)]))
	if text != "" {
		c.words.Say("the server says: " + text)
	}
	return true
}
