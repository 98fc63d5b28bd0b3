package wild

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// throttled lets each connection go fast for its first bytes, both ways together, and slow from then on, by a
// queue of its own in each direction. Rates are bytes a second.
func throttled(t *testing.T, fast, slow float64, first int, queue time.Duration) box {
	type packet struct {
		at   time.Time
		data []byte
		send func(bool, []byte)
	}
	type lane struct {
		free time.Time
		out  chan packet
	}
	type connection struct {
		left  int
		lanes [2]lane
	}
	var mu sync.Mutex
	all := map[uint16]*connection{} // by the client's port
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	return func(up bool, p []byte, send func(bool, []byte)) {
		head := int(p[0]&15) * 4
		if p[0]>>4 != 4 || p[9] != 6 || len(p) < head+20 {
			send(up, p)
			return
		}
		port, way := uint16(p[head+2])<<8|uint16(p[head+3]), 0
		if up {
			port, way = uint16(p[head])<<8|uint16(p[head+1]), 1
		}
		mu.Lock()
		defer mu.Unlock()
		c := all[port]
		if c == nil {
			c = &connection{left: first}
			all[port] = c
			for i := range c.lanes {
				out := make(chan packet, 4096)
				c.lanes[i].out = out
				go func() {
					for {
						select {
						case p := <-out:
							time.Sleep(time.Until(p.at))
							p.send(i == 1, p.data)
						case <-end:
							return
						}
					}
				}()
			}
		}
		rate := fast
		if c.left -= len(p); c.left < 0 {
			rate = slow
		}
		l := &c.lanes[way]
		now := time.Now()
		if l.free.Before(now) {
			l.free = now
		}
		if l.free.Sub(now) > queue {
			return
		}
		l.free = l.free.Add(time.Duration(float64(len(p)) / rate * 1e9))
		select {
		case l.out <- packet{l.free.Add(10 * time.Millisecond), p, send}:
		default:
		}
	}
}

// transfers has a program behind the proxy exchange so many bytes with a server at far, and returns how long
// that takes.
func (c *country) transfers(down bool, bytes int64) time.Duration {
	c.t.Helper()
	var ln net.Listener
	c.within("srv", func() (err error) {
		ln, err = net.Listen("tcp4", far+":9001")
		return err
	})
	defer ln.Close()
	got := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			got <- err
			return
		}
		defer conn.Close()
		if down {
			_, err = io.CopyN(conn, zeros{}, bytes)
		} else {
			_, err = io.CopyN(io.Discard, conn, bytes)
		}
		got <- err
	}()
	var conn net.Conn
	c.within("cli", func() (err error) {
		if conn, err = net.DialTimeout("tcp4", proxy, time.Second); err != nil {
			return err
		}
		at := netip.MustParseAddr(far).As4()
		conn.Write(append([]byte{5, 1, 0, 5, 1, 0, 1}, at[0], at[1], at[2], at[3], 9001>>8, 9001&255))
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 12)
		if _, err = io.ReadFull(conn, b); err == nil && b[3] != 0 {
			err = fmt.Errorf("reply %d", b[3])
		}
		return err
	})
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Minute))
	begin := time.Now()
	var err error
	if down {
		_, err = io.CopyN(io.Discard, conn, bytes)
	} else {
		_, err = io.CopyN(conn, zeros{}, bytes)
	}
	if err == nil {
		err = <-got
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return time.Since(begin)
}

// zeros is a file of zeros without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Each connection has 30 Mbit/s for its first 3 MB and 256 kbit/s from then on, with a queue of its own: 20 MB take
// as long as fresh connections need for them, and not ten minutes.
func TestConnectionsAreThrottled(t *testing.T) {
	for _, down := range []bool{true, false} {
		t.Run(fmt.Sprint("down ", down), func(t *testing.T) {
			c := newCountry(t)
			c.router(1, 1500, "w1")
			c.through(1, throttled(t, 30e6/8, 256e3/8, 3e6, 500*time.Millisecond))
			client, server := c.keys("", onePath)
			c.start("srv", "server", "server", server)
			c.echo("srv")
			c.client = c.start("cli", "client", "client", client)
			c.works(30*time.Second, far)
			took := c.transfers(down, 20e6)
			t.Logf("20 MB took %.1f s", took.Seconds())
			if took > 40*time.Second {
				t.Error("that is too long")
			}
		})
	}
}
