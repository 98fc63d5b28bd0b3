package packet

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// This file holds what the tests of UDP and TCP share: gopacket as a second
// opinion on how packets are built and read.

var (
	client4 = netip.AddrPortFrom(ClientHost4, 40000)
	client6 = netip.AddrPortFrom(ClientHost6, 40000)
	remote4 = netip.MustParseAddrPort("192.0.2.33:443")
	remote6 = netip.MustParseAddrPort("[2001:db8::33]:443")
)

// randomBytes is the same for the same n.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = rnd.Read(b)
	return b
}

// oracle is a packet as gopacket understands it.
type oracle struct {
	tos, ttl   uint8
	id         uint32
	bare       bool
	src, dst   netip.Addr
	checksumOK bool // of the transport, recomputed by gopacket
	udp        *layers.UDP
	tcp        *layers.TCP
	payload    []byte
}

// understand decodes b, strictly: any layer that gopacket does not like fails
// the test.
func understand(t testing.TB, b []byte) (o oracle) {
	t.Helper()
	first := layers.LayerTypeIPv4
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.DecodeOptions{})
	if e := p.ErrorLayer(); e != nil && len(b) <= 0xFFFF {
		t.Fatalf("gopacket: %v\n% x", e.Error(), b[:min(len(b), 80)])
	}
	o.bare = true
	var network gopacket.NetworkLayer
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			network = l
			o.src, o.dst = netip.AddrFrom4([4]byte(l.SrcIP)), netip.AddrFrom4([4]byte(l.DstIP))
			o.tos, o.ttl, o.id = l.TOS, l.TTL, uint32(l.Id)
			if l.Flags != layers.IPv4DontFragment || l.FragOffset != 0 {
				t.Errorf("flags %v, offset %d; want DF only", l.Flags, l.FragOffset)
			}
			if plainSum(b[:IPv4HeaderLen], 0) != 0xFFFF {
				t.Error("IPv4 header checksum is wrong")
			}
		case *layers.IPv6:
			network = l
			o.src, o.dst = netip.AddrFrom16([16]byte(l.SrcIP)), netip.AddrFrom16([16]byte(l.DstIP))
			o.tos, o.ttl = l.TrafficClass, l.HopLimit
		case *layers.IPv6Fragment:
			o.id, o.bare = l.Identification, false
			if l.FragmentOffset != 0 || l.MoreFragments {
				t.Error("the fragment header is not atomic")
			}
			// gopacket stops at fragments, atomic or not: go on by hand.
			rest := gopacket.NewPacket(l.LayerPayload(), l.NextHeader.LayerType(), gopacket.DecodeOptions{})
			if e := rest.ErrorLayer(); e != nil && len(b) <= 0xFFFF {
				t.Fatalf("gopacket behind the fragment header: %v", e.Error())
			}
			for _, l := range rest.Layers() {
				o.transport(t, l, network)
			}
		default:
			o.transport(t, l, network)
		}
	}
	return o
}

func (o *oracle) transport(t testing.TB, l gopacket.Layer, network gopacket.NetworkLayer) {
	t.Helper()
	check := func(c interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		VerifyChecksum() (error, gopacket.ChecksumVerificationResult)
	},
	) {
		if err := c.SetNetworkLayerForChecksum(network); err != nil {
			t.Fatal(err)
		}
		err, result := c.VerifyChecksum()
		o.checksumOK = err == nil && result.Valid
	}
	switch l := l.(type) {
	case *layers.UDP:
		o.udp, o.payload = l, l.Payload
		check(l)
	case *layers.TCP:
		o.tcp, o.payload = l, l.Payload
		check(l)
	}
}

// serialize builds a packet with gopacket: IP, an atomic fragment header
// unless bare, and the transport.
func serialize(t testing.TB, src, dst netip.Addr, tos, ttl uint8, id uint32, bare bool, transport gopacket.SerializableLayer, payload []byte) []byte {
	t.Helper()
	proto := layers.IPProtocolUDP
	if transport.LayerType() == layers.LayerTypeTCP {
		proto = layers.IPProtocolTCP
	}
	var network gopacket.NetworkLayer
	var stack []gopacket.SerializableLayer
	if dst.Is4() {
		ip := &layers.IPv4{
			Version: 4, TOS: tos, TTL: ttl, Id: uint16(id), Flags: layers.IPv4DontFragment, Protocol: proto,
			SrcIP: net.IP(src.AsSlice()), DstIP: net.IP(dst.AsSlice()),
		}
		network, stack = ip, append(stack, ip)
	} else {
		ip := &layers.IPv6{
			Version: 6, TrafficClass: tos, HopLimit: ttl, NextHeader: proto,
			SrcIP: net.IP(src.AsSlice()), DstIP: net.IP(dst.AsSlice()),
		}
		network, stack = ip, append(stack, ip)
		if !bare { // gopacket cannot serialize a fragment header
			ip.NextHeader = layers.IPProtocolIPv6Fragment
			header := binary.BigEndian.AppendUint32([]byte{byte(proto), 0, 0, 0}, id)
			stack = append(stack, gopacket.Payload(header))
		}
	}
	if err := transport.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}).SetNetworkLayerForChecksum(network); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, append(stack, transport, gopacket.Payload(payload))...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

func TestLength(t *testing.T) {
	p4, p6 := buildUDP(client4, remote4, 100), buildUDP(client6, remote6, 100)
	for _, c := range []struct {
		b    []byte
		want int
		err  error
	}{
		{nil, 0, ErrShort},
		{p4[:3], 0, ErrShort},
		{p4[:4], 128, nil},
		{append(p4, 1, 2, 3), 128, nil},
		{p6[:5], 0, ErrShort},
		{p6[:6], 156, nil},
		{p6, 156, nil},
		{[]byte{0x55, 0, 0, 20}, 0, ErrVersion},
		{[]byte{0x45, 0, 0, 19}, 0, ErrLength},
	} {
		if got, err := Length(c.b); got != c.want || err != c.err {
			t.Errorf("Length(% x...) = %d, %v; want %d, %v", c.b[:min(len(c.b), 8)], got, err, c.want, c.err)
		}
	}
}

func TestFields(t *testing.T) {
	for _, to := range []netip.AddrPort{remote4, remote6} {
		from := client4
		if to == remote6 {
			from = client6
		}
		h := UDP{Src: from, Dst: to, TOS: 0xB9, TTL: 64, ID: 0xABCD}
		b := make([]byte, UDPOverhead(to.Addr())+10)
		PutUDP(b, &h)
		if TOS(b) != 0xB9 || ID(b) != 0xABCD || Proto(b) != ProtoUDP {
			t.Errorf("%v: TOS %x, ID %x, protocol %d", to, TOS(b), ID(b), Proto(b))
		}
	}
	h := UDP{Src: client6, Dst: remote6, Bare: true, TTL: 64}
	b := make([]byte, 48)
	PutUDP(b, &h)
	if ID(b) != 0 || Proto(b) != ProtoUDP {
		t.Errorf("bare: ID %d, protocol %d", ID(b), Proto(b))
	}
}

// A new Identification leaves the packet valid.
func TestSetID(t *testing.T) {
	for _, dst := range []string{"192.0.2.1:7", "[2001:db8::1]:7"} {
		h := UDP{Src: netip.MustParseAddrPort("198.18.0.2:1024"), Dst: netip.MustParseAddrPort(dst), TTL: 64, ID: 7}
		if h.Dst.Addr().Is6() {
			h.Src = netip.MustParseAddrPort("[fd6d:7073::2]:1024")
		}
		for _, id := range []uint32{0, 1, 0x7FFF, 0xFFFF} {
			b := make([]byte, UDPOverhead(h.Dst.Addr())+5)
			PutUDP(b, &h)
			SetID(b, id)
			var got UDP
			if _, err := ParseUDP(b, &got); err != nil || ID(b) != id || got.ID != id {
				t.Errorf("%s: Identification %d reads %d and %d, %v", dst, id, ID(b), got.ID, err)
			}
			if b[0]>>4 == 4 && Checksum(b[:IPv4HeaderLen], 0) != 0 {
				t.Errorf("%s: Identification %d breaks the header checksum", dst, id)
			}
		}
	}
}

// Another time to live leaves the packet valid.
func TestSetTTL(t *testing.T) {
	for _, to := range []netip.AddrPort{remote4, remote6} {
		from := client4
		if to == remote6 {
			from = client6
		}
		h := UDP{Src: from, Dst: to, TTL: 64}
		b := make([]byte, UDPOverhead(to.Addr())+10)
		PutUDP(b, &h)
		for _, ttl := range []uint8{0, 1, 63, 64, 255} {
			SetTTL(b, ttl)
			if _, err := ParseUDP(b, &h); err != nil || h.TTL != ttl {
				t.Errorf("%v: %d after SetTTL(%d), %v", to, h.TTL, ttl, err)
			}
		}
	}
}

func TestIsQUIC(t *testing.T) {
	for text, want := range map[string]bool{
		"\xC3\x00\x00\x00\x01\x08\x00": true,  // RFC 9000
		"\xD3\x6B\x33\x43\xCF\x08\x00": true,  // RFC 9369
		"\xC3\xFF\x00\x00\x1D\x08\x00": true,  // a draft
		"\xC3\x00\x00\x00\x00\x08\x00": false, // version negotiation
		"\xC3\xFF\x00\x01\x1D\x08\x00": false,
		"\x43\x00\x00\x00\x01\x08\x00": false, // a short header
		"\xC3\x00\x00\x00\x01\x08":     false,
	} {
		if got := IsQUIC([]byte(text)); got != want {
			t.Errorf("%x: %v", text, got)
		}
	}
}
