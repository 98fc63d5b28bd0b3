package cli

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
)

// stunReply answers a question as an RFC 8489 server does.
func stunReply(q []byte, seen netip.AddrPort) []byte {
	b := binary.BigEndian.AppendUint16(nil, stunSuccess)
	addr, family := seen.Addr().Unmap().AsSlice(), byte(1)
	if len(addr) == 16 {
		family = 2
	}
	value := binary.BigEndian.AppendUint16([]byte{0, family}, seen.Port()^(stunMagic>>16))
	for i, c := range addr {
		value = append(value, c^q[4+i])
	}
	// An attribute that nobody knows stands before it, with padding.
	attrs := append([]byte{0x80, 0x22, 0, 3}, "abc\x00"...)
	attrs = append(binary.BigEndian.AppendUint16(attrs, stunXOR), 0, byte(len(value)))
	attrs = append(attrs, value...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
	return append(append(b, q[4:stunHeader]...), attrs...)
}

func TestStunAnswer(t *testing.T) {
	q := stunQuestion()
	for _, want := range []string{"203.0.113.5:41234", "[2001:db8::7]:9"} {
		seen := netip.MustParseAddrPort(want)
		reply := stunReply(q, seen)
		if got, ok := stunAnswer(q, reply); !ok || got != seen {
			t.Errorf("%v, %v, want %s", got, ok, want)
		}
		for n := range reply {
			if got, ok := stunAnswer(q, reply[:n]); ok {
				t.Errorf("%d bytes of it are %v", n, got)
			}
		}
		if _, ok := stunAnswer(stunQuestion(), reply); ok {
			t.Error("the answer to another question is taken")
		}
	}
}

func FuzzStunAnswer(f *testing.F) {
	q := stunQuestion()
	f.Add(stunReply(q, netip.MustParseAddrPort("203.0.113.5:41234"))[stunHeader:])
	f.Fuzz(func(t *testing.T, attrs []byte) {
		attrs = attrs[:min(len(attrs), 1<<16-1)]
		b := binary.BigEndian.AppendUint16(nil, stunSuccess)
		b = binary.BigEndian.AppendUint16(b, uint16(len(attrs)))
		b = append(append(b, q[4:]...), attrs...)
		if got, ok := stunAnswer(q, b); ok != got.IsValid() {
			t.Errorf("%v, %v", got, ok)
		}
	})
}

// stunServer answers on loopback until the test ends; moved is added to the port that it
// names.
func stunServer(t *testing.T, moved uint16) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() { // ends with the socket
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if n == stunHeader {
				at := netip.AddrPortFrom(from.Addr().Unmap(), from.Port()+moved)
				_, _ = conn.WriteToUDPAddrPort(stunReply(b[:n], at), from)
			}
		}
	}()
	return conn.LocalAddr().String()
}
