package main

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mpsocks/mpsocks/integration/netlab"
)

// zone is what the name servers know: every name in it is the world.
const zone = "soak.test"

// What a name server does.
const (
	answers int32 = iota
	keepsSilent
	fails
)

// nameServers are two of them, at the world's and at the server's address.
type nameServers struct {
	conns [2]*net.UDPConn
	mode  [2]atomic.Int32
	wg    sync.WaitGroup
}

func newNameServers(n *netlab.Namespace) (*nameServers, error) {
	s := &nameServers{}
	for i, at := range nameAddrs {
		c, err := n.ListenUDP(netip.AddrPortFrom(at, 53))
		if err != nil {
			s.close()
			return nil, err
		}
		s.conns[i] = c
		s.wg.Go(func() { s.serve(i) }) // ends with the socket
	}
	return s, nil
}

var nameAddrs = [2]netip.Addr{netlab.World, netlab.Server}

func (s *nameServers) serve(i int) {
	b := make([]byte, 2048)
	for {
		n, from, err := s.conns[i].ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		mode := s.mode[i].Load()
		if mode == keepsSilent {
			continue
		}
		if answer := answerTo(b[:n], mode == fails); answer != nil {
			_, _ = s.conns[i].WriteToUDPAddrPort(answer, from) // it asks again
		}
	}
}

// answerTo answers one question, or says that it cannot; nil for what is none.
func answerTo(query []byte, fail bool) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	name := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 5}
	switch known := strings.HasSuffix(strings.TrimSuffix(q.Name.String(), "."), zone); {
	case fail:
		m.RCode = dnsmessage.RCodeServerFailure
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{Header: name, Body: &dnsmessage.AResource{A: netlab.World.As4()}}}
	case q.Type == dnsmessage.TypeAAAA:
		m.Answers = []dnsmessage.Resource{{Header: name, Body: &dnsmessage.AAAAResource{AAAA: netlab.World6.As16()}}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// set has them do what an event says; "" is as they should.
func (s *nameServers) set(kind string) {
	modes := map[string][2]int32{oneName: {keepsSilent, answers}, noNames: {keepsSilent, keepsSilent}, badNames: {fails, fails}}[kind]
	for i := range s.mode {
		s.mode[i].Store(modes[i])
	}
}

func (s *nameServers) close() {
	for _, c := range s.conns {
		if c != nil {
			c.Close()
		}
	}
	s.wg.Wait()
}
