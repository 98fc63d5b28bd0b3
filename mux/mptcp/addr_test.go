package mptcp

import (
	"net/netip"
	"testing"
)

var (
	addr4 = netip.MustParseAddr("192.0.2.1")
	addr6 = netip.MustParseAddr("2001:db8::1")
)

var addAddrWire = []wire{
	{
		name: "IPv4", hex: "1e10 30 05 c0000201 bc369e8ebe613105",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{ID: 5, Addr: addr4, HMAC: 0xbc369e8ebe613105}},
	},
	{
		name: "IPv4 and port", hex: "1e12 30 05 c0000201 1388 a3768b28b557d1e5",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{ID: 5, Addr: addr4, Port: 5000, HMAC: 0xa3768b28b557d1e5}},
	},
	{
		name: "IPv6", hex: "1e1c 30 06 20010db8000000000000000000000001 0102030405060708",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{ID: 6, Addr: addr6, HMAC: 0x0102030405060708}},
	},
	{
		name: "IPv6 and port", hex: "1e1e 30 06 20010db8000000000000000000000001 1d13 0102030405060708",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{ID: 6, Addr: addr6, Port: 7443, HMAC: 0x0102030405060708}},
	},
	{
		name: "echo, IPv4", hex: "1e08 31 05 c0000201",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{Echo: true, ID: 5, Addr: addr4}},
	},
	{
		name: "echo, IPv4 and port", hex: "1e0a 31 05 c0000201 1388",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{Echo: true, ID: 5, Addr: addr4, Port: 5000}},
	},
	{
		name: "echo, IPv6", hex: "1e14 31 06 20010db8000000000000000000000001",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{Echo: true, ID: 6, Addr: addr6}},
	},
	{
		name: "echo, IPv6 and port", hex: "1e16 31 06 20010db8000000000000000000000001 1d13",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{Echo: true, ID: 6, Addr: addr6, Port: 7443}},
	},
	{
		name: "echo, IPv4-mapped", hex: "1e14 31 06 00000000000000000000ffffc0000201",
		opt: Option{Subtype: MPAddAddr, AddAddr: AddAddr{Echo: true, ID: 6, Addr: netip.MustParseAddr("::ffff:192.0.2.1")}},
	},
}

func TestAddAddr(t *testing.T) {
	testWire(t, addAddrWire)
	testRefused(t, MPAddAddr, map[string]string{
		"length 3":          "1e03 30",
		"no HMAC":           "1e08 30 05 c0000201",
		"echo with an HMAC": "1e10 31 05 c0000201 bc369e8ebe613105",
		"port 0":            "1e12 30 05 c0000201 0000 a3768b28b557d1e5",
		"odd length":        "1e11 30 05 c0000201 13 a3768b28b557d1e5",
	})
}

var removeAddrWire = []wire{
	{
		name: "one", hex: "1e04 40 07",
		opt: Option{Subtype: MPRemoveAddr, RemoveAddr: RemoveAddr{N: 1, IDs: [MaxRemove]uint8{7}}},
	},
	{
		name: "three", hex: "1e06 40 07 08 ff",
		opt: Option{Subtype: MPRemoveAddr, RemoveAddr: RemoveAddr{N: 3, IDs: [MaxRemove]uint8{7, 8, 255}}},
	},
	{
		name: "as many as fit", hex: "1e28 40 01" + "00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000009",
		opt: Option{Subtype: MPRemoveAddr, RemoveAddr: RemoveAddr{N: MaxRemove, IDs: [MaxRemove]uint8{0: 1, 36: 9}}},
	},
}

func TestRemoveAddr(t *testing.T) {
	testWire(t, removeAddrWire)
	testRefused(t, MPRemoveAddr, map[string]string{"none": "1e03 40"})
}
