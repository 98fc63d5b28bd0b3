package carrier_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/mux/carrier"
	"github.com/mpsocks/mpsocks/mux/muxtest"
	"github.com/mpsocks/mpsocks/mux/muxtest/pipe"
)

// secured are both ends of TLS over TCP, or over a connection that is no socket.
func secured(t *testing.T, near, far net.Conn) (a, b carrier.Carrier) {
	t.Helper()
	client, server := muxtest.Configs(t)
	x, y := carrier.NewTLS(near, 16<<10), carrier.NewTLS(far, 16<<10)
	done := make(chan error, 1)
	go func() { done <- y.Server(t.Context(), server) }()
	if err := x.Client(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return x, y
}

// Every carrier keeps what Carrier says of one.
func TestCarriers(t *testing.T) {
	for name, pair := range map[string]func(t *testing.T) (a, b carrier.Carrier){
		"TLS over TCP": func(t *testing.T) (a, b carrier.Carrier) {
			near, far := muxtest.Sockets(t)
			return secured(t, near, far)
		},
		"memory": func(*testing.T) (a, b carrier.Carrier) { return pipe.New(64<<10, 16<<10) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			handshakes(t, a, b)
			a.Start()
			b.Start()
			gathers(t, a, b)
			fills(t, a, b)
			ends(t, a, b)
			a, b = pair(t)
			a.Start()
			b.Start()
			lasts(t, a, b)
		})
	}
}

// Before Start an end writes through and reads as it waits.
func handshakes(t *testing.T, a, b carrier.Carrier) {
	t.Helper()
	for range 2 {
		if _, err := a.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(b, got); err != nil || string(got) != "hello" {
			t.Fatalf("%q, %v", got, err)
		}
		a, b = b, a
	}
}

// What is written leaves with Flush, and what has not come is not waited for.
func gathers(t *testing.T, a, b carrier.Carrier) {
	t.Helper()
	if p, err := b.Next(); len(p) != 0 || !errors.Is(err, carrier.ErrNotYet) {
		t.Fatalf("nothing was sent: %d, %v", len(p), err)
	}
	before, _ := a.Carried()
	if _, err := a.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if sent, _ := a.Carried(); sent != before || a.Committed() < before+100 {
		t.Errorf("sent before Flush: %d bytes; %d are committed", sent-before, a.Committed()-before)
	}
	if blocked, err := a.Flush(); blocked || err != nil {
		t.Fatalf("blocked %v, %v", blocked, err)
	}
	if sent, _ := a.Carried(); sent < before+100 || sent != a.Committed() {
		t.Errorf("after Flush %d bytes were sent, %d are committed", sent-before, a.Committed()-before)
	}
	if r := a.Report(true); r.Sent < before+100 || r.Outstanding > 0 && uint64(r.Outstanding) > r.Sent {
		t.Errorf("the report is %+v", r)
	}
	over := make([]byte, 200, 201)
	if n, err := a.WriteOver(over); n != 200 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if blocked, err := a.Flush(); blocked || err != nil {
		t.Fatalf("blocked %v, %v", blocked, err)
	}
	for got := 0; got < 300; {
		got += len(next(t, b))
	}
}

// Flush never waits; Drain does, and then all has gone, in order.
func fills(t *testing.T, a, b carrier.Carrier) {
	t.Helper()
	var all []byte
	blocked := false
	for i := 0; !blocked && i < 1<<14; i++ {
		p := bytes.Repeat([]byte{byte(i)}, a.LargestFrame())
		all = append(all, p...)
		if _, err := a.Write(p); err != nil {
			t.Fatal(err)
		}
		var err error
		if blocked, err = a.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if !blocked {
		t.Fatal("256 MiB were taken at once")
	}
	if a.Held() == 0 {
		t.Error("what waits is not held")
	}
	drained := make(chan error, 1)
	go func() { drained <- a.Drain() }()
	got := make([]byte, 0, len(all)+1)
	for len(got) < len(all) {
		got = append(got, next(t, b)...)
	}
	if err := <-drained; err != nil || !bytes.Equal(got, all) {
		t.Errorf("%d of %d bytes, equal is %v, %v", len(got), len(all), bytes.Equal(got, all), err)
	}
	if sent, _ := a.Carried(); sent != a.Committed() {
		t.Error("something is left after Drain")
	}
}

// The knobs may be turned at any time, and the end is heard by the one who waits.
func ends(t *testing.T, a, b carrier.Carrier) {
	t.Helper()
	for k, v := range map[carrier.Knob]carrier.Setting{
		carrier.Lowat: {Bytes: 1 << 16}, carrier.Pace: {Rate: 1}, carrier.Congestion: {Name: "cubic"},
	} {
		a.Tune(k, v)
	}
	heard := make(chan error, 1)
	nothing := func() error { return errors.New("nothing was sent") }
	go func() { heard <- b.Receive(nothing, nil) }()
	a.CloseWrite()
	if err := <-heard; err != io.EOF {
		t.Errorf("the end is %v", err)
	}
	go func() { heard <- a.Receive(nothing, nil) }()
	time.Sleep(10 * time.Millisecond) // it waits, most likely
	a.Close()
	if err := <-heard; err == nil || err.Error() == "nothing was sent" {
		t.Errorf("who waits for what does not come hears of Close: %v", err)
	}
	b.Abort()
	if err := a.Receive(nothing, nil); err == nil {
		t.Error("a closed end waits and hears something")
	}
}

// The end is heard although it comes with the last bytes, and who handles these may close.
func lasts(t *testing.T, a, b carrier.Carrier) {
	t.Helper()
	if _, err := a.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := a.Drain(); err != nil {
		t.Fatal(err)
	}
	a.CloseWrite()
	time.Sleep(10 * time.Millisecond) // both are there at once, most likely
	var got []byte
	if err := b.Receive(func() error {
		p, err := b.Next()
		if got = append(got, p...); errors.Is(err, carrier.ErrNotYet) {
			err = nil
		}
		return err
	}, nil); err != io.EOF || string(got) != "last" {
		t.Errorf("%q, then %v", got, err)
	}
	if _, err := b.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if err := b.Drain(); err != nil {
		t.Fatal(err)
	}
	calls := 0
	if err := a.Receive(func() error {
		calls++
		a.Next()
		a.Close()
		return nil
	}, nil); err == nil || calls != 1 {
		t.Errorf("%d calls, then %v", calls, err)
	}
}

// next receives one time, all that is there.
func next(t *testing.T, c carrier.Carrier) (got []byte) {
	t.Helper()
	enough := errors.New("enough")
	if err := c.Receive(func() error {
		for {
			p, err := c.Next()
			if errors.Is(err, carrier.ErrNotYet) {
				return enough
			}
			if err != nil {
				return err
			}
			got = append(got, p...)
		}
	}, nil); err != enough {
		t.Fatal(err)
	}
	return got
}

// A connection that is no socket of the kernel serves as well; its writer does all.
func TestTLSOverAnyConn(t *testing.T) {
	near, far := net.Pipe()
	a, b := secured(t, near, far)
	a.Start()
	b.Start()
	if _, err := a.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if blocked, err := a.Flush(); !blocked || err != nil {
		t.Errorf("blocked %v, %v", blocked, err)
	}
	go func() { _ = a.Drain() }()
	if got := next(t, b); string(got) != "hello" {
		t.Errorf("%q", got)
	}
	if r := a.Report(true); r.Known || r.Outstanding != -1 {
		t.Errorf("it says %+v of what it cannot know", r)
	}
}

// Who is hushed says nothing, and all that was said to it is there for another.
func TestHush(t *testing.T) {
	near, far := muxtest.Sockets(t)
	client, server := muxtest.Configs(t)
	k := carrier.NewTLS(far, 16<<10)
	k.Hush()
	stranger := errors.New("a stranger")
	server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, stranger }
	said := &tee{Conn: near}
	done := make(chan error, 1)
	go func() { done <- tls.Client(said, client).Handshake() }()
	if err := k.Server(t.Context(), server); !errors.Is(err, stranger) || !k.Hushed() {
		t.Errorf("%v, hushed is %v", err, k.Hushed())
	}
	k.Close()
	if err := <-done; err == nil || said.got > 0 {
		t.Errorf("%d bytes were answered, %v", said.got, err)
	}
	if !bytes.Equal(k.Heard(), said.all) {
		t.Errorf("%d bytes of %d were heard", len(k.Heard()), len(said.all))
	}
}

// A tee keeps what is written and counts what is read.
type tee struct {
	net.Conn
	all []byte
	got int
}

func (c *tee) Write(p []byte) (int, error) {
	c.all = append(c.all, p...)
	return c.Conn.Write(p)
}

func (c *tee) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.got += n
	return n, err
}
