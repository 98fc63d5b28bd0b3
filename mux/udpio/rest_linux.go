//go:build linux && !mpsocks_portable

package udpio

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/lull"
)

// A socket that datagrams come by one by one and often is taken out of epoll where its owner
// lets it rest, and read with all others of its kind at the moments of package lull, by its
// goroutine: the Loop's is not woken for it.

// Gather says whether what comes by the socket may wait for what comes behind it, for a
// millisecond at most (package lull). A Handler may call it with each batch.
func (c *Conn) Gather(may bool) {
	if c.gathers.Load() != may {
		c.gathers.Store(may)
	}
}

// visit reads a socket that is ready, and has it rest from now on if that gathers something.
func (l *Loop) visit(c *Conn) (drained bool) {
	l.took = 0
	drained = l.read(c)
	switch {
	case c.rest.Rests(): // an error has come, not its moment
		c.rest.Brought(l.took)
	case c.gathers.Load() && l.judge(c, time.Now()) && l.watch(c, false):
		l.resting = append(l.resting, c)
	}
	return drained
}

// judge says whether a socket that was read rests until it is looked at again.
func (l *Loop) judge(c *Conn, now time.Time) bool {
	c.rest.Brought(l.took)
	return c.rest.Looked(now.UnixNano(), c.gathers.Load())
}

// watch has epoll tell of a socket's datagrams or not; false if the socket is closed.
func (l *Loop) watch(c *Conn, tell bool) bool {
	if !c.acquire() {
		return false
	}
	defer c.release()
	event := unix.EpollEvent{Fd: int32(c.slot)}
	if tell {
		event.Events = unix.EPOLLIN
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.conns[c.slot]
	if at.conn != c {
		return false
	}
	event.Pad = at.generation
	return unix.EpollCtl(l.epfd, unix.EPOLL_CTL_MOD, c.fd, &event) == nil
}

// join has the sockets that rest looked at. The caller holds turn.
func (l *Loop) join() {
	if len(l.resting) > 0 && !l.joined {
		l.joined = true
		lull.Join(l.look)
	}
}

// look reads the sockets that rest, when their moment has come, and says whether there are
// some still. One that has more than a read takes is epoll's again, and so are those whose
// moment comes too late, or behind many datagrams of others.
func (l *Loop) look(late bool) (again bool) {
	l.turn.Lock()
	defer l.turn.Unlock()
	if l.ended {
		return false
	}
	now, kept := time.Now(), l.resting[:0]
	l.came = 0
	for _, c := range l.resting {
		if !late && l.came < gatherDatagrams {
			l.took = 0
			drained := l.read(c)
			l.gathered.sockets++
			if l.judge(c, now) && drained {
				kept = append(kept, c)
				continue
			}
		}
		c.rest = lull.Reader{}
		l.watch(c, true)
	}
	clear(l.resting[len(kept):])
	l.resting = kept
	l.finish()
	l.joined = len(kept) > 0
	return l.joined
}
