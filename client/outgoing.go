package client

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/txthinking/socks5"

	"github.com/mpsocks/mpsocks/client/admission"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/packet"
)

// outgoing is a stream to a destination that the exit has reached, for who has no call: a
// program behind a TUN device, or a transport of net/http.
type outgoing struct {
	stream
	client *Client
	holder admission.Holder
	once   sync.Once // closes it
}

// reach has the exit make a connection, for which w is asked, by the flight that asks for
// it. by holds it until it is closed, and p is what status says of it; ctx bounds the wait.
func reach(ctx context.Context, c *Client, by admission.Holder, from netip.AddrPort, p party, w mux.Wish, flight []byte) (*outgoing, error) {
	if !c.streams.Acquire(by) {
		return nil, replyError{repFailure, errTooManyStreams}
	}
	st, reply, err := dialExit(ctx, c, by, from, w, flight)
	if err == nil && reply.Rep != repSuccess {
		c.exitRefused.Add(1)
		st.Reset()
		forgetWish(c, st)
		err = replyError{reply.Rep, errExitRefused}
	}
	if err != nil {
		c.streams.Release(by)
		return nil, err
	}
	c.calls.add(st, p)
	return &outgoing{stream: st, client: c, holder: by}, nil
}

// Close gives the holder's place back, too.
func (o *outgoing) Close() error {
	o.once.Do(func() {
		o.client.calls.drop(o.stream)
		forgetWish(o.client, o.stream)
		o.client.streams.Release(o.holder)
	})
	return o.stream.Close()
}

// dialExit opens a stream, for which w is asked, and asks the exit over it. ctx bounds both.
func dialExit(ctx context.Context, c *Client, by admission.Holder, from netip.AddrPort, w mux.Wish, flight []byte) (st stream, reply *socks5.Reply, err error) {
	defer func() {
		if answer := answerOf(reply); err != nil || answer != repSuccess {
			sayUnreached(&c.log, from, "", askedFor(flight), answer, err)
		}
	}()
	asked, err := c.lookups.begin(ctx, by, flight)
	if err != nil {
		return nil, nil, err
	}
	defer asked()
	if st, err = openStream(ctx, c, from); err != nil {
		return nil, nil, err
	}
	if at, ok := innerAddr(st); ok {
		c.wishes.ask(packet.ProtoTCP, at, w)
	}
	stop := context.AfterFunc(ctx, st.Reset)
	defer stop()
	if _, err := st.Write(flight); err != nil {
		st.Reset()
		forgetWish(c, st)
		return nil, nil, replyError{repFailure, fmt.Errorf("ask the exit: %w", err)}
	}
	if reply, err = readExit(st, time.Now().Add(exitTime), asked); err != nil {
		st.Reset()
		forgetWish(c, st)
		return nil, nil, err
	}
	return st, reply, nil
}

// forgetWish ends what was asked for a stream.
func forgetWish(c *Client, st net.Conn) {
	if at, ok := innerAddr(st); ok {
		c.wishes.end(packet.ProtoTCP, at)
	}
}
