package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/txthinking/socks5"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// sentTime is how long an application may take to read what is there for it
// when its connection is about to be closed.
const sentTime = 10 * time.Second

const (
	// hearTime is how long an application that is still sending may take to come to read
	// what came before the failure that ends its connection, and pauseTime how long it
	// has to be silent for that. A reset in the midst of its sending is an error of that:
	// many programs then look for no answer, and some systems have thrown it away.
	hearTime  = 500 * time.Millisecond
	pauseTime = 100 * time.Millisecond
)

// call is one application's TCP connection and the stream that carries it to the
// exit, whatever protocol asked for it.
type call struct {
	client *Client
	conn   tcpio.Socket
	stream stream
	holder admission.Holder // who the caps count it for
	name   string           // what status calls the application, where the connection does not tell
	asked  func()           // the exit has said something
	yes    word             // what the application gets for the exit's yes
	told   bool             // it has, and all that came behind, and down is how that ended
	down   error

	up       chan struct{} // closed when the direction to the exit has ended; nil before it began
	early    bool          // the exit was sent something behind the request; of who uploads
	poured   chan struct{} // closed when told and down are known
	handed   atomic.Bool   // the direction to the exit is to go on in a goroutine of its own
	answered atomic.Bool   // the exit has said yes
	over     atomic.Bool   // the exit has said no, or the stream failed: the upload has no end of its own
	gone     atomic.Bool   // the application went before the exit said anything
	deaf     atomic.Bool   // the exit takes no more of what the application sends
}

// A word is what an application gets for the exit's yes.
type word uint8

const (
	ownWord  word = iota // what its owner says, when ask has returned
	exitWord             // that itself
	noWord               // nothing, or it was said before
)

// newCall opens a stream for an application's connection, which the exit will be asked
// for in that flight. The error is a replyError; without one the caller has to end the
// call.
func newCall(c *Client, conn tcpio.Socket, user string, flight []byte) (*call, error) {
	remote := addrOf(conn.RemoteAddr())
	k := &call{client: c, conn: conn, holder: admission.HolderOf(user, remote.Addr())}
	if !c.streams.Acquire(k.holder) {
		sayUnreached(&c.log, remote, user, askedFor(flight), 0, errTooManyStreams)
		return nil, replyError{repFailure, errTooManyStreams}
	}
	if !c.crowd.Descriptors.Hold(k.holder, 1) {
		c.streams.Release(k.holder)
		sayUnreached(&c.log, remote, user, askedFor(flight), 0, errTooManyDescriptors)
		return nil, replyError{repFailure, errTooManyDescriptors}
	}
	// The handshake's deadline goes: the waits of a call have their own.
	err := conn.SetDeadline(time.Time{})
	k.asked = func() {}
	if err == nil {
		k.asked, err = c.lookups.begin(c.life, k.holder, flight)
	}
	if err == nil {
		if k.stream, err = openStream(c.life, c, remote); err != nil {
			k.asked()
		}
	}
	if err != nil {
		c.crowd.Descriptors.Release(k.holder, 1)
		c.streams.Release(k.holder)
		sayUnreached(&c.log, remote, user, askedFor(flight), 0, err)
		return nil, err
	}
	return k, nil
}

// end closes the stream and gives the call's place back.
func (k *call) end() {
	k.asked()
	k.client.calls.drop(k.stream)
	k.stream.Close()
	k.client.crowd.Descriptors.Release(k.holder, 1)
	k.client.streams.Release(k.holder)
}

// ask sends a request to the exit and waits for its reply; early says that the
// flight has data of the application behind the request. The direction to the
// exit begins at once, so that an application that goes away is noticed while
// the exit is still trying: it frees the stream, and the exit's attempt, at
// once. sent is called when the flight may be reused. Once told there is no reply.
func (k *call) ask(flight []byte, early bool, sent func()) (*socks5.Reply, error) {
	p := party{app: addrOf(k.conn.RemoteAddr()), proxy: addrOf(k.conn.LocalAddr()), user: k.holder.User, name: k.name, to: askedFor(flight)}
	k.client.calls.add(k.stream, p)
	_, err := k.stream.Write(flight)
	sent()
	if err != nil {
		k.stream.Reset()
		sayUnreached(&k.client.log, p.app, p.user, p.to, 0, err)
		return nil, replyError{repFailure, fmt.Errorf("ask the exit: %w", err)}
	}
	k.up, k.early = make(chan struct{}), early
	until := time.Now().Add(exitTime)
	if k.yes != ownWord && k.carry(until) {
		return nil, nil
	}
	select {
	case <-k.up:
	default:
		go k.upload()
	}
	reply, err := readExit(k.stream, until, k.asked)
	k.asked()
	switch {
	case err == nil && reply.Rep == repSuccess:
		k.answered.Store(true)
	case k.gone.Load():
		err = errAbandoned
		fallthrough
	default:
		k.stop()
		sayUnreached(&k.client.log, p.app, p.user, p.to, answerOf(reply), err)
	}
	return reply, err
}

// carry copies to the exit, and has the application get the exit's yes, or not, and then what follows, as it comes:
// whoever reads it off the tunnel writes it. False if what the exit says first, until then, is to be read: it
// is none, or did not come in one piece.
func (k *call) carry(until time.Time) bool {
	st, ok := k.stream.(interface {
		Pour(w io.Writer, says func(first []byte) (skip int, ok bool), ended func(n int64, err error))
	})
	if !ok || k.stream.SetReadDeadline(until) != nil {
		return false
	}
	said := 0
	k.poured = make(chan struct{})
	st.Pour(k.conn, func(first []byte) (int, bool) {
		skip, all, yes := grants(first)
		if k.yes == noWord {
			skip = all
		}
		if yes {
			said = all - skip
			k.asked()
			k.answered.Store(true)
		}
		return skip, yes
	}, func(n int64, err error) {
		defer close(k.poured)
		if err == mux.ErrHead {
			k.handed.Store(true)
			k.conn.SetReadDeadline(time.Unix(1, 0))
			k.stream.SetWriteDeadline(time.Unix(1, 0))
			return
		}
		k.told = true
		k.downloaded(max(0, n-int64(said)), err)
	})
	k.upload()
	<-k.poured
	if !k.told {
		k.conn.SetReadDeadline(time.Time{})
		k.stream.SetWriteDeadline(time.Time{})
	}
	return k.told
}

// upload copies from the application to the exit. It ends when the application
// closes, or when either end fails and reset reaches it, or as it is handed over; ask begins it, and
// splice or stop waits for it.
func (k *call) upload() {
	n, err := io.Copy(k.stream, k.conn)
	k.client.streamUp.Add(uint64(n))
	k.early = k.early || n > 0
	if k.handed.CompareAndSwap(true, false) && errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	defer close(k.up)
	switch {
	case k.over.Load():
		return // stop has ended it
	case !k.answered.Load() && (ofSocket(err) || err == nil && !k.early):
		// Before the reply nobody has anything to end but the whole: who has
		// sent data ahead may end that direction, others have gone.
		k.gone.Store(true)
		k.stream.Reset()
		return
	case ofSocket(err):
		k.reset() // the application has failed
	case err != nil || k.stream.CloseWrite() != nil:
		// The exit takes no more. What it has sent before, an early answer to
		// an upload for one, is the application's all the same: the other
		// direction passes it on, and how it ends.
		k.deaf.Store(true)
	}
}

// ofSocket says whether an error of copying is the application's connection's;
// everything else is the stream's.
func ofSocket(err error) bool {
	switch e := err.(type) { // not errors.As: a stream's error may wrap one of these
	case *net.OpError:
		// A TCPConn's WriteTo puts what the stream said into one of its own.
		return e.Op != "writeto" || ofSocket(e.Err)
	case syscall.Errno:
		return true
	}
	return false
}

// stop ends the direction to the exit; the application's connection is left for
// a reply.
func (k *call) stop() {
	k.over.Store(true)
	k.stream.Reset()
	k.conn.SetReadDeadline(time.Unix(1, 0))
	<-k.up
	k.conn.SetReadDeadline(time.Time{})
}

// lead asks the exit for an application that gets no word of its yes, and copies. sent is ask's.
func (k *call) lead(flight []byte, sent func()) error {
	// An application that ends its direction before it has said anything may
	// want to hear all the same: it waits for no connection.
	k.yes = noWord
	reply, err := k.ask(flight, true, sent)
	if err == nil && !k.told && reply.Rep != repSuccess {
		k.refused()
		err = fmt.Errorf("%w: reply %02x", errExitRefused, reply.Rep)
	}
	if err == nil {
		k.splice()
	}
	return err
}

// ahead asks the exit for an application that was told yes already, which returned said, and copies.
// What the exit does not reach is a connection that breaks. sent is ask's.
func (k *call) ahead(said error, flight []byte, sent func()) error {
	if said != nil {
		k.stream.Reset()
		return fmt.Errorf("answer ahead: %w", said)
	}
	if err := k.lead(flight, sent); err != nil {
		k.reset()
		return fmt.Errorf("answered ahead: %v", err) // no reply any more
	}
	return nil
}

// refused counts a call that the exit did not make.
func (k *call) refused() { k.client.exitRefused.Add(1) }

// splice copies both ways until both are done; one may have been copied as the exit's yes was. The end of one direction is
// passed on as such, and the failure of one never discards what the other has
// read: data first, then the end or the reset.
func (k *call) splice() {
	if !k.told {
		k.downloaded(io.Copy(k.conn, k.stream))
	}
	<-k.up
	if k.deaf.Load() && k.down == nil {
		// Closing now, with the rest of the upload unread, would be a reset,
		// which can overtake the answer.
		k.conn.SetReadDeadline(time.Now().Add(sentTime))
		io.Copy(io.Discard, k.conn)
	}
}

// downloaded passes on how what came from the exit has ended, after n bytes. It waits only if err is not nil.
func (k *call) downloaded(n int64, err error) {
	k.down = err
	k.client.streamDown.Add(uint64(n))
	switch {
	case ofSocket(err):
		k.reset()
	case err != nil:
		awaitSent(k.conn, sentTime)
		if n > 0 {
			k.hear()
		}
		k.reset()
	case k.sent(): // closing says it
	case k.conn.CloseWrite() != nil:
		k.reset()
	}
}

// sent says that the application has ended its direction and all of that is the exit's.
func (k *call) sent() bool {
	select {
	case <-k.up:
		return !k.deaf.Load()
	default:
		return false
	}
}

// hear takes what the application still sends for nobody, until it pauses, closes its side
// or takes too long.
func (k *call) hear() {
	k.over.Store(true)
	k.conn.SetReadDeadline(time.Unix(1, 0))
	<-k.up
	b := make([]byte, 64<<10)
	for end := time.Now().Add(hearTime); time.Now().Before(end); {
		k.conn.SetReadDeadline(time.Now().Add(pauseTime))
		if _, err := k.conn.Read(b); err != nil {
			return
		}
	}
}

// reset ends both sides of a broken call the way it broke.
func (k *call) reset() {
	k.stream.Reset()
	k.conn.SetLinger(0)
	k.conn.Close()
}
