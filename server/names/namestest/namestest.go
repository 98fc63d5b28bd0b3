// Package namestest has name servers and messages for tests.
package namestest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// None knows no name, in the form of net.Resolver.LookupNetIP.
func None(context.Context, string, string) ([]netip.Addr, error) { return nil, errors.New("none") }

// Question is a query with the ID 0x1234.
func Question(name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0x1234, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// Unpack reads a message.
func Unpack(t testing.TB, b []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return m
}

// Server answers over UDP and TCP on one port with what reply makes of a
// query; nil is silence.
func Server(t testing.TB, reply func(network string, m dnsmessage.Message) *dnsmessage.Message) netip.AddrPort {
	t.Helper()
	var ln net.Listener
	var c *net.UDPConn
	var at netip.AddrPort
	for range 100 { // until a port is free for both
		var err error
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		at = ln.Addr().(*net.TCPAddr).AddrPort()
		if c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err == nil {
			break
		}
		ln.Close()
	}
	if c == nil {
		t.Fatal("no port for both UDP and TCP")
	}
	t.Cleanup(func() { ln.Close(); c.Close() })
	answer := func(network string, query []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(query) != nil {
			return nil
		}
		m.Response, m.RecursionAvailable = true, true
		out := reply(network, m)
		if out == nil {
			return nil
		}
		b, err := out.Pack()
		if err != nil {
			panic(err)
		}
		return b
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			query := bytes.Clone(b[:n])
			go func() { // a reply may wait
				if a := answer("udp", query); a != nil {
					guess := append([]byte{a[0] ^ 1}, a[1:]...) // somebody else's guess comes first
					_, _ = c.WriteToUDPAddrPort(guess, from)
					_, _ = c.WriteToUDPAddrPort(a, from)
				}
			}()
		}
	}()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			_, _ = io.ReadFull(conn, size[:])
			b := make([]byte, binary.BigEndian.Uint16(size[:]))
			_, _ = io.ReadFull(conn, b)
			if a := answer("tcp", b); a != nil {
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
			}
			conn.Close()
		}
	}()
	return at
}

// AddA adds IPv4 addresses to an answer.
func AddA(m dnsmessage.Message, ttl uint32, addrs ...string) *dnsmessage.Message {
	for _, a := range addrs {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
		})
	}
	return &m
}

// AddAAAA adds IPv6 addresses to an answer.
func AddAAAA(m dnsmessage.Message, ttl uint32, addrs ...string) *dnsmessage.Message {
	for _, a := range addrs {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(a).As16()},
		})
	}
	return &m
}

// Late asks nobody: it answers each query after that time, with 192.0.2.1 for each name and no IPv6
// address, in the form of names.Sources.Ask.
func Late(after time.Duration) func(context.Context, netip.AddrPort, []byte, int) ([]byte, error) {
	return func(ctx context.Context, _ netip.AddrPort, msg []byte, _ int) ([]byte, error) {
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var m dnsmessage.Message
		if err := m.Unpack(msg); err != nil {
			return nil, err
		}
		m.Response, m.RecursionAvailable = true, true
		answer := &m
		if m.Questions[0].Type == dnsmessage.TypeA {
			answer = AddA(m, 60, "192.0.2.1")
		}
		return answer.Pack()
	}
}
