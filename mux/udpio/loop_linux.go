//go:build linux && !mpsocks_portable

package udpio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/mux/hands"
)

const (
	// maxEvents is how many ready sockets one round takes from epoll; the
	// others are first in the next round.
	maxEvents = 128
	// maxBatches is how often a socket is read per round before the others
	// have their turn, unless it has brought gatherBytes.
	maxBatches = 2
	// maxRounds is how many rounds with work follow each other before the
	// goroutine scheduler gets its turn: it looks at the network only when a
	// goroutine pauses, and others of the process wait for theirs.
	maxRounds = 16
	// singleMost is how often in a row epoll is not asked where there is one socket.
	singleMost = 32
)

// A Loop reads many sockets in one goroutine. It owns an epoll instance whose
// descriptor is itself registered with Go's network poller, so that an idle
// Loop is a parked goroutine and blocks no thread.
type Loop struct {
	// Set at construction.
	log   zerolog.Logger
	after func() // or nil
	epfd  int
	file  *os.File // owns epfd
	raw   syscall.RawConn

	stopped atomic.Bool
	stats   counters

	// mu guards the table of sockets: Listen and Close change it, and the
	// Loop looks up the sockets of a round under one lock.
	mu    sync.Mutex
	conns []entry
	free  []int // unused indexes of conns
	shut  bool
	open  int   // sockets, and
	only  *Conn // the one that there is while they are one

	// turn guards what follows: it is the goroutine's in Run while that reads, or of
	// whoever looks at the sockets that rest.
	turn sync.Mutex

	recv   receiver
	events [maxEvents]unix.EpollEvent
	ready  []*Conn // of this round
	number uint32  // of this round
	// lone says that this round brought one datagram and nothing was left: what comes
	// wakes the poller, as it would an edge-triggered one, and no look at epoll is needed.
	// After more than one the look is worth it: what has come meanwhile goes out with them.
	lone  bool
	erred bool // a read of this round has brought an error
	// singles counts the calls of single.
	singles uint32
	took    int     // bytes that a visit brought, so far
	came    int     // datagrams that an owner's turn brought, so far
	turns   turns   // of owners
	resting []*Conn // out of epoll, see rest_linux.go
	joined  bool    // they are looked at
	ended   bool

	gathered struct{ sockets, datagrams, bytes int } // since after was last called
}

// What may be gathered before after is called: what comes while the sockets
// before are read goes out with them, and nothing waits when nothing comes.
// Without the bounds on datagrams and bytes, one socket that always has more
// would hold those of the others back for a thousand of its own.
const (
	gatherSockets   = 32
	gatherDatagrams = 256
	gatherBytes     = 256 << 10
)

// An entry is a place in the Loop's table. The generation tells an event for
// an earlier Conn in the same place from one for the present Conn.
type entry struct {
	conn       *Conn
	generation int32
}

// NewLoop returns a Loop without sockets. Its owner must call Run once, which
// also frees what NewLoop and Listen took. The after function, if not nil, is
// called by Run's goroutine when no socket is ready any more, or enough was
// read.
func NewLoop(log zerolog.Logger, after func()) (*Loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("udp loop: %w", os.NewSyscallError("epoll_create1", err))
	}
	// os.NewFile puts a descriptor into the poller only if it is non-blocking.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("udp loop: %w", os.NewSyscallError("fcntl", err))
	}
	l := &Loop{
		log:   log,
		after: after,
		epfd:  epfd,
		file:  os.NewFile(uintptr(epfd), "udp loop"),
		ready: make([]*Conn, 0, maxEvents),
	}
	l.turns = turns{loop: l, yield: hands.Yield, owners: make(map[any]*owner)}
	l.raw, err = l.file.SyscallConn()
	if err == nil {
		err = l.file.SetReadDeadline(time.Time{}) // fails if the poller refused it
	}
	if err != nil {
		l.file.Close()
		return nil, fmt.Errorf("udp loop: %w", err)
	}
	l.recv.init()
	return l, nil
}

// Listen binds a socket that this Loop reads from now on, or from the start of
// Run. Any goroutine may call it. Errors: net.ErrClosed after Run, or the
// system's, wrapped with the address.
func (l *Loop) Listen(local netip.AddrPort, opt Options, h Handler) (*Conn, error) {
	c, err := open(local, opt)
	if err != nil {
		return nil, err
	}
	c.loop, c.handler, c.failed = l, h, opt.Failed
	if err := l.register(c, opt.Owner); err != nil {
		c.Close()
		return nil, fmt.Errorf("listen udp %s: %w", local, err)
	}
	return c, nil
}

// register makes the Loop read c. Level-triggered: what a round leaves in a
// socket is reported again in the next, so nobody has to read up to EAGAIN.
func (l *Loop) register(c *Conn, whose any) error {
	l.mu.Lock()
	if l.shut {
		l.mu.Unlock()
		c.slot = -1
		return net.ErrClosed
	}
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		c.slot = len(l.conns)
		l.conns = append(l.conns, entry{})
	}
	l.conns[c.slot].conn = c
	c.owner = l.turns.own(whose)
	l.count(1)
	event := unix.EpollEvent{
		Events: unix.EPOLLIN,
		Fd:     int32(c.slot),
		Pad:    l.conns[c.slot].generation,
	}
	// Under the lock, so that the epoll instance is not closed meanwhile.
	err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, c.fd, &event)
	l.mu.Unlock()
	return os.NewSyscallError("epoll_ctl", err)
}

// forget takes a closed Conn out of the table. Closing its descriptor takes it
// out of epoll.
func (l *Loop) forget(c *Conn) {
	if c.slot < 0 {
		return
	}
	l.mu.Lock()
	l.conns[c.slot].conn = nil
	l.conns[c.slot].generation++
	l.free = append(l.free, c.slot)
	l.turns.disown(c.owner)
	l.count(-1)
	l.mu.Unlock()
}

// count notes that there are so many sockets more. The caller holds mu.
func (l *Loop) count(n int) {
	l.open += n
	if l.only = nil; l.open != 1 {
		return
	}
	for i := range l.conns {
		if c := l.conns[i].conn; c != nil {
			l.only = c
			return
		}
	}
}

// Run reads the sockets until ctx ends; then it closes all of them and returns
// nil. It is called once, by the goroutine that all handlers run in.
func (l *Loop) Run(ctx context.Context) error {
	defer l.close()
	can := probe()
	l.log.Debug().Bool("gso", can.gso).Bool("gro", can.gro).Msg("udp loop runs")
	stop := context.AfterFunc(ctx, func() {
		l.stopped.Store(true)
		_ = l.file.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	// The whole life of the Loop is one Read: readiness that the poller notes
	// while step works is kept until step returns false, so no event is lost
	// between the last look at epoll, which found nothing, and parking.
	err := l.raw.Read(l.step)
	if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("udp loop: %w", err)
}

// step works until nothing is ready; false parks the goroutine until something
// is, true ends the Loop.
func (l *Loop) step(uintptr) bool {
	for rounds := 0; !l.stopped.Load(); rounds++ {
		if !l.works(rounds) {
			return false
		}
		if rounds%maxRounds == maxRounds-1 {
			runtime.Gosched()
		}
	}
	return true
}

// works is one round of a step; false if nothing is left.
func (l *Loop) works(round int) bool {
	l.turn.Lock()
	defer l.turn.Unlock()
	if round == 0 && l.single() || !l.round() || round == 0 && l.lone {
		l.finish()
		l.join()
		return false
	}
	return true
}

// single reads the socket, if there is but one, without asking epoll what the poller has just
// said: a call's datagrams come one by one. False leaves it to round, as does an error; and so
// does each singleMost-th, which an error may have come with that a send has heard of.
func (l *Loop) single() bool {
	l.mu.Lock()
	c := l.only
	l.mu.Unlock()
	if l.singles++; c == nil || l.singles%singleMost == 0 || c.rest.Rests() {
		return false
	}
	l.number++
	l.erred = false
	before := l.gathered.datagrams
	drained := l.visit(c)
	got := l.gathered.datagrams - before
	if got > 0 {
		l.gathered.sockets++
	}
	if !drained || l.erred || got != 1 {
		return false
	}
	l.number++ // the round that is saved
	return true
}

// round reads every ready socket, or gives each owner a turn where there are several; false
// if there was nothing to read.
func (l *Loop) round() bool {
	l.number++
	n := epollPoll(l.epfd, l.events[:])
	if n == 0 && len(l.turns.line) == 0 {
		return false
	}
	if l.note(n) || len(l.turns.line) > 0 {
		l.lone = l.turns.share(n)
	} else {
		l.lone = l.each(n)
	}
	if l.lone {
		l.number++ // the round that is saved
	}
	return true
}

// note looks up the sockets of the first n events, and says whether there are several owners.
func (l *Loop) note(n int) (several bool) {
	l.ready = l.ready[:0]
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.events[:n] {
		e := &l.events[i]
		if at := l.conns[e.Fd]; at.conn != nil && at.generation == e.Pad {
			l.ready = append(l.ready, at.conn)
			at.conn.faulty = e.Events&unix.EPOLLERR != 0 && at.conn.failed != nil
		}
	}
	return len(l.turns.owners) > 1
}

// each reads the sockets of this round, of which there were n. It says what lone is.
func (l *Loop) each(n int) (lone bool) {
	lone = n == 1
	for _, c := range l.ready {
		if c.faulty {
			l.fail(c)
			lone = false
		}
	}
	for i, c := range l.ready {
		l.ready[i] = nil
		lone = l.visit(c) && lone
		l.gathered.sockets++
	}
	lone = lone && l.gathered.datagrams <= 1
	if l.gathered.sockets >= gatherSockets {
		l.finish()
	}
	return lone
}

// fail tells of what is in a socket's error queue.
func (l *Loop) fail(c *Conn) {
	c.faulty = false
	l.failures(c)
}

// places is how many sockets there may be.
func (l *Loop) places() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// finish ends what one or more rounds gathered.
func (l *Loop) finish() {
	if g := &l.gathered; l.after != nil && g.sockets+g.datagrams > 0 {
		l.after()
	}
	l.gathered = struct{ sockets, datagrams, bytes int }{}
}

// epollPoll returns how many events are there now, without waiting. It skips
// the scheduler's hooks around system calls, as it cannot block.
func epollPoll(epfd int, events []unix.EpollEvent) int {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		if errno == 0 {
			return int(n)
		}
		if errno != unix.EINTR {
			return 0 // only a closed descriptor or bad memory: neither happens in Run
		}
	}
}

// close ends every Conn and frees the Loop's memory; last in Run.
func (l *Loop) close() {
	l.mu.Lock()
	l.shut = true
	var open []*Conn
	for _, e := range l.conns {
		if e.conn != nil {
			open = append(open, e.conn)
		}
	}
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	l.turn.Lock()
	l.ended = true
	l.recv.release()
	l.turn.Unlock()
	l.file.Close()
}

// Stats returns the counters of what this Loop received.
func (l *Loop) Stats() Stats { return l.stats.snapshot() }
