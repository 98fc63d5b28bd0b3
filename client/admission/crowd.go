package admission

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A Crowd is the connections of applications: how many there may be, and whose they are. It is
// safe for concurrent use.
type Crowd struct {
	Lobby       *Lobby
	Descriptors *Descriptors

	// Set once at construction.
	log     zerolog.Logger
	life    context.Context // ends with the client
	guesses *guesses

	users atomic.Pointer[users] // stored with mu held
	wg    sync.WaitGroup        // connections and what Begin counts; Add only with mu held

	mu     sync.Mutex              // guards the rest
	conns  map[tcpio.Socket]string // with the SOCKS user, once that is known
	closed bool
}

// New makes a Crowd of nobody yet, for a client that ends with life. With users nobody comes in
// who is none of them; files is how many descriptors the process may have open, 0 = as many as
// it likes.
func New(life context.Context, log zerolog.Logger, users []conf.User, files int) *Crowd {
	c := &Crowd{
		Lobby: newLobby(maxPending, maxPendingEach), Descriptors: newDescriptors(log, files),
		log: log, life: life, guesses: newGuesses(), conns: make(map[tcpio.Socket]string),
	}
	c.users.Store(newUsers(users))
	return c
}

// Enter counts a new connection, so that Close finds it, until Leave; or closes it, for want of a
// descriptor or at the end, and returns false.
func (c *Crowd) Enter(conn tcpio.Socket) bool {
	switch {
	case !c.Descriptors.Take(1):
		// What says nothing gives way, for the next one.
		c.Lobby.crowd()
	case !c.track(conn):
		c.Descriptors.Give(1)
	default:
		return true
	}
	conn.Close()
	return false
}

// track takes a connection in, unless there is an end of that.
func (c *Crowd) track(conn tcpio.Socket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.conns[conn] = ""
	c.wg.Add(1)
	return true
}

// Leave undoes Enter: the connection is closed, and whoever served it has nothing left to do. It
// is idempotent.
func (c *Crowd) Leave(conn tcpio.Socket) {
	c.mu.Lock()
	_, there := c.conns[conn]
	delete(c.conns, conn)
	c.mu.Unlock()
	if there {
		c.Descriptors.Give(1)
		c.wg.Done()
	}
}

// Serve starts the goroutine of a connection whose destination is settled: connect makes
// the connection to there, and copies. The end of either connection stops it; when connect
// fails the application sees a reset.
func (c *Crowd) Serve(conn tcpio.Socket, connect func(tcpio.Socket) error) {
	if !c.Enter(conn) {
		return
	}
	go func() {
		defer c.Leave(conn)
		defer conn.Close()
		if err := connect(conn); err != nil {
			c.log.Debug().Err(err).Stringer("app", conn.RemoteAddr()).Stringer("at", conn.LocalAddr()).Msg("a forwarded or redirected connection ended")
			conn.SetLinger(0)
		}
	}()
}

// Begin counts a goroutine that serves something without a connection yet, until End; false if
// there is an end of that.
func (c *Crowd) Begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Add(1)
	}
	return !c.closed
}

// End undoes Begin.
func (c *Crowd) End() { c.wg.Done() }

// HasUsers says whether applications must log in.
func (c *Crowd) HasUsers() bool { return c.users.Load().required() }

// ReplaceUsers puts another list in place, and ends the connections, and with them the
// associations, of users who are gone or have another password.
func (c *Crowd) ReplaceUsers(list []conf.User) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.users.Swap(newUsers(list))
	for conn, user := range c.conns {
		if user != "" && !old.same(user, list) {
			conn.SetLinger(0) // a cut, and not an end
			conn.Close()
		}
	}
}

// Close closes all connections, and lets none in from now on; their goroutines end by
// that.
func (c *Crowd) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for conn := range c.conns {
		// A deadline as well: closing does not end an io.Copy that waits for
		// the other side.
		conn.SetDeadline(time.Unix(1, 0))
		conn.Close()
	}
}

// Wait returns when all have left and all that was begun has ended, after Close.
func (c *Crowd) Wait() { c.wg.Wait() }
