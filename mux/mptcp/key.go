package mptcp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// Key is the secret of one end of a session (RFC 8684, Section 3.1).
type Key uint64

// Token names a session to the end whose key it is derived from; it must be
// unique there.
type Token uint32

// Token returns the most significant 32 bits of SHA-256(key) (RFC 8684,
// Section 3.2).
func (k Key) Token() Token {
	h := k.hash()
	return Token(binary.BigEndian.Uint32(h[:4]))
}

// IDSN returns the initial data sequence number of the end with this key: the
// least significant 64 bits of SHA-256(key) (RFC 8684, Section 3.1). The first
// byte of data has the number IDSN+1.
func (k Key) IDSN() uint64 {
	h := k.hash()
	return binary.BigEndian.Uint64(h[24:])
}

func (k Key) hash() [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(k)))
}

// JoinHMAC returns the HMAC that the local end sends in MP_JOIN (RFC 8684,
// Section 3.2): the listener its leftmost 64 bits in the SYN/ACK, the joining
// end its leftmost 160 bits in the ACK. To check what the peer sent, exchange
// local and remote.
func JoinHMAC(local, remote Key, nonceLocal, nonceRemote uint32) [32]byte {
	var msg [8]byte
	binary.BigEndian.PutUint32(msg[:4], nonceLocal)
	binary.BigEndian.PutUint32(msg[4:], nonceRemote)
	return keyedHMAC(local, remote, msg[:])
}

// AddAddrHMAC returns the truncated HMAC of an ADD_ADDR (RFC 8684, Section
// 3.4.1): the rightmost 64 bits, keyed with the key of the end that advertises
// the address, then the receiver's. A port of 0 is an absent one.
func AddAddrHMAC(sender, receiver Key, id uint8, addr netip.Addr, port uint16) uint64 {
	msg := append(make([]byte, 0, 19), id)
	msg = append(msg, addr.AsSlice()...)
	msg = binary.BigEndian.AppendUint16(msg, port)
	h := keyedHMAC(sender, receiver, msg)
	return binary.BigEndian.Uint64(h[24:])
}

// keyedHMAC is HMAC-SHA256 with the keys in sequence as its key.
func keyedHMAC(first, second Key, msg []byte) (sum [32]byte) {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:8], uint64(first))
	binary.BigEndian.PutUint64(key[8:], uint64(second))
	m := hmac.New(sha256.New, key[:])
	m.Write(msg)
	m.Sum(sum[:0])
	return sum
}
