package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

// serveStreams accepts until the listener is closed.
func (f *far) serveStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.wg.Go(func() { // ends by its deadlines
			defer c.Close()
			f.serveStream(c.(*net.TCPConn))
		})
	}
}

// serveStream is the world's end of one CONNECT.
func (f *far) serveStream(c *net.TCPConn) {
	t := &patient{TCPConn: c, patience: f.patience}
	var head [streamHead]byte
	if _, err := io.ReadFull(t, head[:]); err != nil {
		return // a program that was refused in time
	}
	id, kind, size := binary.BigEndian.Uint64(head[:]), int(head[8]), int(binary.BigEndian.Uint64(head[9:]))
	if kind >= streamKinds || size > maxStream {
		f.report.fault("CONNECT %d: the head of its stream is wrong: % x", id, head)
		return
	}
	begun := time.Now()
	switch kind {
	case download, slow, abandoned:
		_ = supply(t, id, size) // the other end says what is missing
	case cut:
		_ = supply(t, id, size/2)
		_ = c.SetLinger(0)
	case early:
		_, _ = io.ReadFull(t, make([]byte, 20<<10))
		_ = supply(t, id, earlySize) // closed with the rest unread: that is a reset
	case upload:
		n, err := expect(t, id, size, func() {})
		switch {
		case errors.Is(err, errContent):
			f.report.fault("CONNECT %d, upload: %v behind byte %d", id, err, n)
		// A server that is killed has its connections ended by the system, in order.
		case err != nil && !wasReset(err) && !f.outages.during(begun, time.Now(), func(kind string) bool { return kind == restart }):
			f.report.fault("CONNECT %d, upload: the world saw %v", id, err)
		}
		_, _ = t.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	case chat, idle:
		b := make([]byte, chatBlock)
		for n := 0; ; {
			k, err := t.Read(b)
			if !right(b[:k], id, uint64(n)) {
				f.report.fault("CONNECT %d, %s: %v behind byte %d", id, streamNames[kind], errContent, n)
			}
			if _, write := t.Write(b[:k]); write != nil || err != nil {
				return
			}
			n += k
		}
	}
}
