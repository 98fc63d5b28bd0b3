package mptcp

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"
)

const (
	keyA   Key    = 0x0102030405060708
	keyB   Key    = 0x1122334455667788
	nonceA uint32 = 0x0a0b0c0d
	nonceB uint32 = 0x1a1b1c1d
)

func TestTokenAndIDSN(t *testing.T) {
	for _, c := range []struct {
		key   Key
		token Token
		idsn  uint64
	}{
		{1, 0xcd266215, 0x19ec509083d00a50},
		{2, 0xcd04a475, 0x886540e5dce77f70},
		{keyA, 0x66840dda, 0xf5a101d3d29d6f72},
		{keyB, 0x1dce6604, 0x62815714b76ae9a5},
	} {
		if token, idsn := c.key.Token(), c.key.IDSN(); token != c.token || idsn != c.idsn {
			t.Errorf("key %x: token %x, IDSN %x; want %x, %x", c.key, token, idsn, c.token, c.idsn)
		}
	}
}

// The vectors of Linux, net/mptcp/crypto_test.c: the strings are the bytes.
func TestHMACLinux(t *testing.T) {
	for _, c := range []struct{ key, msg, want string }{
		{"0b0b0b0b0b0b0b0b", "48692054", "8385e24fb4235ac37556b6b886db106284a1da671699f46db1f235ec622dcafa"},
		{"aaaaaaaaaaaaaaaa", "dddddddd", "2c5e219164ff1dca1c4a92318d847bb6b9d44492984e1eb71aff9022f71046e9"},
		{"0102030405060708", "cdcdcdcd", "e73b9ba9969969cefb04aa0d6df18ec2fcc075b6f23b4d8c4da736a5dbbc6e7d"},
	} {
		local, remote := binary.BigEndian.Uint64([]byte(c.key[:8])), binary.BigEndian.Uint64([]byte(c.key[8:]))
		n1, n2 := binary.BigEndian.Uint32([]byte(c.msg[:4])), binary.BigEndian.Uint32([]byte(c.msg[4:]))
		if got := JoinHMAC(Key(local), Key(remote), n1, n2); hex.EncodeToString(got[:]) != c.want {
			t.Errorf("HMAC(%s, %s) = %x, want %s", c.key, c.msg, got, c.want)
		}
	}
}

func TestJoinHMAC(t *testing.T) {
	if got := JoinHMAC(keyA, keyB, nonceA, nonceB); hex.EncodeToString(got[:20]) != "95803649518b7775303280a8fab379af180801b4" {
		t.Errorf("HMAC-A = %x", got[:20])
	}
	if got := JoinHMAC(keyB, keyA, nonceB, nonceA); hex.EncodeToString(got[:8]) != "f7da89b7fdc09637" {
		t.Errorf("HMAC-B = %x", got[:8])
	}
}

func TestAddAddrHMAC(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	for port, want := range map[uint16]uint64{0: 0xbc369e8ebe613105, 5000: 0xa3768b28b557d1e5} {
		if got := AddAddrHMAC(keyA, keyB, 5, addr, port); got != want {
			t.Errorf("port %d: %x, want %x", port, got, want)
		}
	}
}
