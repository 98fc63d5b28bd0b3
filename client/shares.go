package client

import (
	"container/list"
	"net/netip"
)

// shareOfOne is what part of what all may hold one other machine may.
const shareOfOne = 4

// shares are things in the order of their last use, of all machines and of each.
type shares struct {
	most int // of all; one machine may have a part of them
	all  list.List
	by   map[netip.Addr]*list.List
}

// share is the place of a thing in shares.
type share struct {
	host     netip.Addr
	all, own *list.Element
}

// full returns what has to go before a machine may have one more.
func (s *shares) full(host netip.Addr) (any, bool) {
	if out, ok := s.beyond(host); ok {
		return out, true
	}
	if s.all.Len() >= s.most {
		return s.all.Front().Value, true
	}
	return nil, false
}

// beyond returns what has to go of a machine's own, if it has its share; no address is
// this machine, whose programs share as they like.
func (s *shares) beyond(host netip.Addr) (any, bool) {
	if own := s.by[host]; own != nil && host.IsValid() && own.Len() >= max(s.most/shareOfOne, 1) {
		return own.Front().Value, true
	}
	return nil, false
}

// oldest is what a machine has used the longest time ago.
func (s *shares) oldest(host netip.Addr) (any, bool) {
	if own := s.by[host]; own != nil {
		return own.Front().Value, true
	}
	return nil, false
}

func (s *shares) add(at *share, host netip.Addr, thing any) {
	if s.by == nil {
		s.by = make(map[netip.Addr]*list.List)
	}
	own := s.by[host]
	if own == nil {
		own = list.New()
		s.by[host] = own
	}
	*at = share{host, s.all.PushBack(thing), own.PushBack(thing)}
}

// touch notes a use.
func (s *shares) touch(at *share) {
	s.all.MoveToBack(at.all)
	s.by[at.host].MoveToBack(at.own)
}

func (s *shares) remove(at *share) {
	own := s.by[at.host]
	s.all.Remove(at.all)
	if own.Remove(at.own); own.Len() == 0 {
		delete(s.by, at.host)
	}
}
