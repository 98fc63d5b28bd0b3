package udpio

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Sockets come and go while others send on them and the Loop reads them.
func TestCloseRaces(t *testing.T) {
	var handled atomic.Int64
	h := func(c *Conn, msgs []Message) {
		handled.Add(int64(len(msgs)))
		if handled.Load()%17 == 0 {
			c.Close()
		}
	}
	l := startLoop(t, nil)
	const slots = 16
	var conns [slots]atomic.Pointer[Conn]
	for i := range conns {
		conns[i].Store(listen(t, l, any4, Options{Offload: true}, h))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { // sends from every socket to every other
			w := NewWriter()
			p := payload(100, 1)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				for i := range conns {
					for range 3 {
						w.Add(conns[i].Load(), conns[(i+n)%slots].Load().LocalAddr(), 0, p)
					}
				}
				w.Flush()
				runtime.Gosched()
			}
		})
	}
	for k := range 2 {
		wg.Go(func() { // replaces sockets
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c, err := l.Listen(any4, Options{Offload: true}, h)
				if err != nil {
					t.Error(err)
					return
				}
				if old := conns[(2*n+k)%slots].Swap(c); old != nil {
					old.Close()
				}
				runtime.Gosched()
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	for end := time.Now().Add(20 * time.Second); handled.Load() == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	close(stop)
	wg.Wait()
	for i := range conns {
		conns[i].Load().Close()
	}
	if handled.Load() == 0 {
		t.Error("nothing was received")
	}
}

// After Close no call of the Handler begins, whatever the socket still holds.
func TestNoHandlerAfterClose(t *testing.T) {
	l := startLoop(t, nil)
	u := plain(t, any4)
	var calls atomic.Int64
	begun, sent := make(chan struct{}), make(chan struct{})
	c := listen(t, l, any4, Options{RecvBuffer: 1 << 22}, func(c *Conn, _ []Message) {
		if calls.Add(1) == 1 {
			close(begun)
			<-sent
		}
		c.Close()
	})
	other := make(chan struct{})
	o := listen(t, l, any4, Options{}, func(*Conn, []Message) { close(other) })
	u.WriteToUDPAddrPort([]byte("x"), c.LocalAddr())
	<-begun
	for range 200 {
		u.WriteToUDPAddrPort([]byte("x"), c.LocalAddr())
	}
	close(sent)
	u.WriteToUDPAddrPort([]byte("x"), o.LocalAddr())
	<-other
	time.Sleep(5 * time.Millisecond)
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}
