package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

func TestPublish(t *testing.T) {
	for _, p := range []Publish{
		{Protocol: ProtocolTCP, At: netip.MustParseAddrPort("[::]:25565")},
		{Protocol: ProtocolUDP, At: netip.MustParseAddrPort("203.0.113.5:53"), Host: 3, Port: 40000},
		{Protocol: ProtocolUDP, At: netip.MustParseAddrPort("[2001:db8::5]:53"), Port: 1},
	} {
		b := p.Append([]byte("before"))[6:]
		if got, err := ParsePublish(b); err != nil || got != p {
			t.Errorf("%+v, %v, want %+v", got, err, p)
		}
		for i := range b { // one byte too few or too many
			if _, err := ParsePublish(b[:i]); err == nil {
				t.Errorf("%d bytes are a request", i)
			}
		}
		if _, err := ParsePublish(append(b, 0)); err == nil {
			t.Error("a request with a byte more is one")
		}
	}
	for _, p := range []Publish{
		{Protocol: 1, At: netip.MustParseAddrPort("[::]:1")},
		{Protocol: ProtocolTCP, At: netip.MustParseAddrPort("[::]:0")},
		{Protocol: ProtocolUDP, At: netip.MustParseAddrPort("[::]:1")},
	} {
		if _, err := ParsePublish(p.Append(nil)); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
	from, to := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("[2001:db8::1]:443")
	b := AppendVisitor(nil, from, to)
	if f, a := ParseVisitor(b); f != from || a != to || len(b) != PublishVisitorLen {
		t.Errorf("%v, %v", f, a)
	}
}

// FuzzParsePublish wants what is taken to be written as it was.
func FuzzParsePublish(f *testing.F) {
	f.Add((&Publish{Protocol: ProtocolTCP, At: netip.MustParseAddrPort("[::]:25565")}).Append(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		if p, err := ParsePublish(in); err == nil && !bytes.Equal(p.Append(nil), in) {
			t.Errorf("% x is written as % x", in, p.Append(nil))
		}
	})
}
