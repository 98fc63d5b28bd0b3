package admission

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

// ended says whether the other side of a connection has closed it.
func ended(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err := conn.Read(make([]byte, 1))
	return err != nil && !timedOut(err)
}

// stays says whether it has not, for a moment.
func stays(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	return timedOut(err)
}

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// TestACrowdEnds: what has come in is closed at the end, all of it is waited for, and nobody
// comes in any more.
func TestACrowdEnds(t *testing.T) {
	c, knock := New(t.Context(), nopLog, nil, 0), door(t)
	served := make(chan error, 1)
	here, there := knock()
	c.Serve(there, func(conn tcpio.Socket) error {
		_, err := io.Copy(io.Discard, conn)
		served <- err
		return err
	})
	other, entered := knock()
	if !c.Enter(entered) || !c.Begin() {
		t.Fatal("one of the first is kept out")
	}
	c.Close()
	if !ended(here) || !ended(other) || <-served == nil {
		t.Error("a connection goes on")
	}
	late, there := knock()
	if c.Enter(there) || !ended(late) || c.Begin() {
		t.Error("somebody comes in behind the end")
	}
	all := make(chan struct{})
	go func() { c.Wait(); close(all) }()
	c.Leave(entered)
	c.Leave(entered) // is nothing
	select {
	case <-all:
		t.Error("what was begun was not waited for")
	case <-time.After(20 * time.Millisecond):
	}
	c.End()
	<-all
	if n := c.Descriptors.used.Load(); n != 0 {
		t.Errorf("%d descriptors of nobody", n)
	}
}

// TestUsersWhoAreGoneAreCut: whoever is no user any more, or has another password, is cut, and
// the others go on.
func TestUsersWhoAreGoneAreCut(t *testing.T) {
	users := []conf.User{{Name: "ann", Password: "a"}, {Name: "bob", Password: "b"}, {Name: "eve", Password: "e"}}
	c, knock := New(t.Context(), nopLog, users, 0), door(t)
	ends := map[string]*net.TCPConn{}
	for _, u := range users {
		here, there := knock()
		if !c.Enter(there) || !c.Login(there, []byte(u.Name), []byte(u.Password)) {
			t.Fatalf("%s is kept out", u.Name)
		}
		ends[u.Name] = here
	}
	c.ReplaceUsers([]conf.User{{Name: "ann", Password: "a"}, {Name: "bob", Password: "new"}})
	if !stays(ends["ann"]) || !ended(ends["bob"]) || !ended(ends["eve"]) {
		t.Error("one who is no user goes on, or one who is was cut")
	}
	c.ReplaceUsers(nil)
	if c.HasUsers() || !ended(ends["ann"]) {
		t.Error("there are no users, and one goes on")
	}
}

// TestLoginWhileUsersChange: who logs in by the list before, just when another one takes its
// place, does not slip through, as a user who is gone or with a password that was changed.
func TestLoginWhileUsersChange(t *testing.T) {
	for name, next := range map[string]conf.User{"gone": {Name: "bob", Password: "b"}, "another password": {Name: "ann", Password: "b"}} {
		c := New(t.Context(), nopLog, []conf.User{{Name: "ann", Password: "a"}}, 0)
		here, there := door(t)()
		c.Enter(there)
		in := make(chan bool)
		c.mu.Lock() // it is not noted yet whose the connection is
		go func() { in <- c.Login(there, []byte("ann"), []byte("a")) }()
		time.Sleep(50 * time.Millisecond)
		c.users.Store(newUsers([]conf.User{next}))
		c.mu.Unlock()
		if <-in {
			t.Errorf("%s: logged in", name)
		}
		here.Close()
	}
}

// TestLoginEndsWithTheClient: who waits for a turn when the client ends waits no more.
func TestLoginEndsWithTheClient(t *testing.T) {
	life, stop := context.WithCancel(t.Context())
	c := New(life, nopLog, []conf.User{{Name: "ann", Password: "a"}}, 0)
	_, there := door(t)()
	for range guessFree + 8 {
		c.guesses.result(lineOf(there), "ann", false, time.Now())
	}
	in := make(chan bool)
	begin := time.Now()
	go func() { in <- c.Login(there, []byte("ann"), []byte("a")) }()
	stop()
	if <-in || time.Since(begin) >= guessMost {
		t.Errorf("it was let in, or waited %v", time.Since(begin))
	}
}
