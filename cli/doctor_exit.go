package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/mpsocks/mpsocks/status"
)

// What the exit looks like from outside: the NAT that programs are behind there (RFC
// 4787), asked of STUN servers (RFC 8489) through the tunnel.

// publicSTUN are asked if nobody names others. Two operators, so that two addresses see
// the mapping.
var publicSTUN = []string{"stun.cloudflare.com:3478", "stun.l.google.com:19302"}

const (
	stunRequest  = 0x0001 // Binding, Section 3
	stunSuccess  = 0x0101
	stunMagic    = 0x2112a442
	stunHeader   = 20
	stunXOR      = 0x0020 // XOR-MAPPED-ADDRESS, Section 14.2
	stunPlain    = 0x0001 // MAPPED-ADDRESS, Section 14.1
	stunTime     = 1500 * time.Millisecond
	stunTries    = 2
	strangerTime = time.Second
)

// stunQuestion is a Binding request under a random transaction ID.
func stunQuestion() []byte {
	b := binary.BigEndian.AppendUint16(nil, stunRequest)
	b = append(b, 0, 0) // no attributes
	b = binary.BigEndian.AppendUint32(b, stunMagic)
	id := make([]byte, 12)
	rand.Read(id)
	return append(b, id...)
}

// stunAnswer reads the address that the answer to a question names.
func stunAnswer(question, b []byte) (netip.AddrPort, bool) {
	if len(b) < stunHeader || binary.BigEndian.Uint16(b) != stunSuccess || !bytes.Equal(b[4:stunHeader], question[4:stunHeader]) {
		return netip.AddrPort{}, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b)-stunHeader {
		return netip.AddrPort{}, false
	}
	var found netip.AddrPort
	for rest := b[stunHeader : stunHeader+n]; len(rest) >= 4; {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if size > len(rest)-4 {
			break
		}
		value := bytes.Clone(rest[4 : 4+size])
		rest = rest[min(len(rest), 4+(size+3)&^3):]
		if kind != stunXOR && kind != stunPlain || size != 8 && size != 20 || value[1] != map[int]byte{8: 1, 20: 2}[size] {
			continue
		}
		if kind == stunXOR {
			for i := range value[2:] { // the port with the magic's first half, the address with the magic and the ID
				from := 4 + i
				if i >= 2 {
					from = 4 + i - 2
				}
				value[2+i] ^= question[from]
			}
		}
		addr, _ := netip.AddrFromSlice(value[4:])
		found = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(value[2:]))
		if kind == stunXOR {
			break // the better one of the two
		}
	}
	return found, found.IsValid()
}

// mapped asks a STUN server through an association which address it sees.
func (a *association) mapped(server string) (seen netip.AddrPort, err error) {
	to, err := appendTarget([]byte{0, 0, 0}, server)
	if err != nil {
		return seen, err
	}
	a.header = to
	for range stunTries {
		question := stunQuestion()
		if _, err = a.exchange(question, stunTime, func(b []byte) (ok bool) {
			seen, ok = stunAnswer(question, b)
			return ok
		}); err == nil {
			return seen, nil
		}
	}
	return seen, err
}

// stranger sends a datagram from this machine, outside the tunnel, to an address at the
// exit, and says whether the association gets it.
func (a *association) stranger(to netip.AddrPort) (bool, error) {
	conn, err := net.Dial("udp", to.String())
	if err != nil {
		return false, err
	}
	defer conn.Close()
	word := make([]byte, 16)
	rand.Read(word)
	for range 3 { // one may get lost
		if _, err := conn.Write(word); err != nil {
			return false, err
		}
	}
	a.udp.SetDeadline(time.Now().Add(strangerTime))
	for {
		n, err := a.udp.Read(a.buf)
		if err != nil {
			return false, nil
		}
		if body, ok := datagramBody(a.buf[:n]); ok && bytes.Equal(body, word) {
			return true, nil
		}
	}
}

// nat says which NAT programs are behind at the exit. It is the same by every path, so
// the first one that works is enough.
func (d *doctor) nat(proxy socksProxy) {
	if d.natSeen || len(d.stun) == 0 {
		return
	}
	const check = "exit NAT"
	ctx, cancel := context.WithTimeout(d.ctx, connectTime)
	defer cancel()
	a, err := proxy.associate(ctx, d.stun[0])
	if err != nil {
		return // that was said of the path
	}
	defer a.Close()
	var seen []netip.AddrPort
	var failed error
	for _, server := range d.stun {
		if at, err := a.mapped(server); err == nil {
			seen = append(seen, at)
		} else {
			failed = err
		}
	}
	if len(seen) == 0 {
		if errors.Is(failed, context.Canceled) {
			return
		}
		d.natSeen = true // the same by every path
		d.say(doubt, check, "--stun HOST:PORT names a STUN server, --stun none asks nobody", "no STUN server answers through the tunnel: does the exit have UDP?")
		return
	}
	d.natSeen = true
	for _, at := range seen[1:] {
		if at != seen[0] {
			d.say(doubt, check, "calls and games between two users may not find each other: something behind the server gives every destination another port; let its firewall keep the port (on nftables: masquerade without random, or no NAT at all)",
				"mapping depends on the destination: seen as %s and as %s (symmetric NAT)", seen[0], at)
			return
		}
	}
	mapping := "endpoint-independent mapping"
	if len(seen) == 1 {
		mapping = "one server sees it, so how it maps others is not known"
	}
	switch open, err := a.stranger(seen[0]); {
	case err != nil:
		d.say(fine, check, "", "seen as %s: %s; whether strangers get in cannot be tried from here (%s)", seen[0], mapping, status.Explain(err.Error()))
	case open:
		d.say(fine, check, "", "seen as %s: %s, endpoint-independent filtering (full cone): strangers get in, as peer-to-peer wants it", seen[0], mapping)
	default:
		d.say(fine, check, "", "seen as %s: %s; a stranger's datagram does not get in: the server's relay.filtering, or a firewall before it", seen[0], mapping)
	}
}
