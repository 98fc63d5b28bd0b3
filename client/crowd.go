package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// A crowd is the connections of applications: how many there may be, and whose they are.
type crowd struct {
	// Set once at construction.
	log         zerolog.Logger
	life        context.Context // ends with Run
	guesses     *guesses
	lobby       *lobby
	descriptors *descriptors

	users atomic.Pointer[users]
	wg    sync.WaitGroup // goroutines of connections; Add only with mu held or from one that is counted

	mu     sync.Mutex              // guards the rest
	conns  map[tcpio.Socket]string // with the SOCKS user, once that is known
	closed bool
}

func newCrowd(life context.Context, log zerolog.Logger, list []conf.User) *crowd {
	c := &crowd{
		log: log, life: life, guesses: newGuesses(), lobby: newLobby(maxPending, maxPendingEach),
		descriptors: newDescriptors(log), conns: make(map[tcpio.Socket]string),
	}
	c.users.Store(newUsers(list))
	return c
}

// enter counts a new connection, or closes it.
func (c *crowd) enter(conn tcpio.Socket) bool {
	switch {
	case !c.descriptors.take(1):
		// What says nothing gives way, for the next one.
		c.lobby.crowd()
	case !c.track(conn):
		c.descriptors.give(1)
	default:
		return true
	}
	conn.Close()
	return false
}

// serve starts the goroutine of a connection whose destination is settled: connect makes
// the connection to there, and copies. The end of either connection stops it; when connect
// fails the application sees a reset.
func (c *crowd) serve(conn tcpio.Socket, connect func(tcpio.Socket) error) {
	if !c.enter(conn) {
		return
	}
	go func() {
		defer c.wg.Done() // counted by track
		defer c.forget(conn)
		defer conn.Close()
		if err := connect(conn); err != nil {
			c.log.Debug().Err(err).Stringer("app", conn.RemoteAddr()).Stringer("at", conn.LocalAddr()).Msg("a forwarded or redirected connection ended")
			conn.SetLinger(0)
		}
	}()
}

// begin counts a goroutine that serves something; false if there is an end of that.
func (c *crowd) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Add(1)
	}
	return !c.closed
}

// track counts a connection, so that shutdown finds it.
func (c *crowd) track(conn tcpio.Socket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.conns[conn] = ""
	c.wg.Add(1)
	return true
}

// forget undoes track, but for the WaitGroup.
func (c *crowd) forget(conn tcpio.Socket) {
	c.mu.Lock()
	_, there := c.conns[conn]
	delete(c.conns, conn)
	c.mu.Unlock()
	if there {
		c.descriptors.give(1)
	}
}

// known notes whose connection it is, and looks again whether the user is one: the list
// may have changed meanwhile.
func (c *crowd) known(conn tcpio.Socket, user string) error {
	if user == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.conns[conn]; there {
		c.conns[conn] = user
	}
	if !c.users.Load().has(user) {
		return errPassword
	}
	return nil
}

// replaceUsers puts another list in place, and ends the connections, and with them the
// associations, of users who are gone or have another password.
func (c *crowd) replaceUsers(list []conf.User) {
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

// close closes all connections, and lets none in from now on; their goroutines end by
// that.
func (c *crowd) close() {
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
