// Package capture shows people what passes through a tunnel: a pcapng file that Wireshark
// reads. It knows options and packets, and no session.
package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mpsocks/mpsocks/mux/packet"
)

// A Capture writes what passes through the tunnel to a pcapng file with two
// interfaces: 0, "frames", has each frame as a TCP segment of its subflow (see
// Subflow); 1, "inner", has the packets of the tunnel as they are,
// but with a checksum of TCP where they travel without. Both
// have the link type RAW: Wireshark reads them without help.
//
// All methods may be called on a nil Capture, which captures nothing, and by
// several goroutines. The zero Capture waits for Begin. A capture is for finding
// faults: it holds what TLS hides, and it costs a lock and a copy per packet.
type Capture struct {
	on      atomic.Bool // there is a file
	mu      sync.Mutex  // guards all that follows, and every Subflow
	file    *os.File
	w       *bufio.Writer
	err     error // the first one; nothing is written after it
	tell    func(error)
	flushed time.Time
	block   []byte // reused
	segment []byte // reused
}

// Interfaces of the file.
const (
	frames = 0
	inner  = 1
)

// pcapng block and option types (draft-ietf-opsawg-pcapng, Sections 4 and 3.5),
// and the link type of raw IPv4 and IPv6.
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 6
	optionName     = 2 // in an interface block: its name
	optionTSResol  = 9 // in an interface block: ticks are 10^-n s
	optionFlags    = 2 // in a packet block: 1 inbound, 2 outbound
	linkRaw        = 101
)

// flushEvery bounds how much of a capture is missing after a crash.
const flushEvery = time.Second

// Begin creates the file, readable by its owner only, and captures to it from now on.
// Nothing that is there is written to, not through a link either: what a capture holds
// is nobody else's.
func (c *Capture) Begin(path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on.Load() {
		return errors.New("capture: one is under way")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if info, there := os.Lstat(path); errors.Is(err, fs.ErrExist) && there == nil && info.Mode()&fs.ModeCharDevice != 0 {
		f, err = os.OpenFile(path, os.O_WRONLY, 0) // /dev/null and the like
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("capture: %s is there already and was left alone: remove it, or name another file", path)
	}
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	c.file, c.w, c.err, c.flushed = f, bufio.NewWriterSize(f, 1<<16), nil, time.Now()
	// Byte order magic, version 1.0, section of unknown length.
	c.begin(blockSection)
	c.put32(0x1A2B3C4D)
	c.put32(1)
	c.put32(0xFFFFFFFF)
	c.put32(0xFFFFFFFF)
	c.end()
	for _, name := range []string{"frames", "inner"} {
		c.begin(blockInterface)
		c.put32(linkRaw)
		c.put32(0) // packets are not cut
		c.option(optionName, []byte(name))
		c.option(optionTSResol, []byte{9})
		c.put32(0)
		c.end()
	}
	if err := c.w.Flush(); err != nil {
		f.Close()
		return fmt.Errorf("capture: %w", err)
	}
	c.on.Store(true)
	return nil
}

// Tell has f called, once for each capture, when what comes cannot be written any more:
// the disk is full, say. It is called with a lock held, and must not wait.
func (c *Capture) Tell(f func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell = f
}

// Failed says that the capture that runs has failed.
func (c *Capture) Failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.on.Load() && c.err != nil
}

// Close ends the capture and returns the first error that it met, if any. What
// is captured afterwards is dropped.
func (c *Capture) Close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on.Swap(false) {
		return nil // closed before
	}
	err := c.err
	c.err = os.ErrClosed
	if err == nil {
		err = c.w.Flush()
	}
	if e := c.file.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	return nil
}

// Inner captures a packet of the tunnel; out says that this side sends it.
func (c *Capture) Inner(out bool, pkt []byte) {
	if c == nil || !c.on.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(inner, out, pkt)
}

// write appends one packet. The caller holds the lock.
func (c *Capture) write(iface uint32, out bool, pkt []byte) {
	if c.err != nil {
		return
	}
	now := time.Now()
	ticks := uint64(now.UnixNano())
	flags := uint32(1)
	if out {
		flags = 2
	}
	c.begin(blockPacket)
	c.put32(iface)
	c.put32(uint32(ticks >> 32))
	c.put32(uint32(ticks))
	c.put32(uint32(len(pkt)))
	c.put32(uint32(len(pkt)))
	at := len(c.block)
	c.bytes(pkt)
	if iface == inner { // streams' packets travel without
		packet.SumTCP(c.block[at : at+len(pkt)])
	}
	c.option(optionFlags, binary.LittleEndian.AppendUint32(nil, flags))
	c.put32(0)
	c.end()
	if c.err == nil && now.Sub(c.flushed) > flushEvery {
		c.err = c.w.Flush()
		c.flushed = now
	}
	if c.err != nil && c.tell != nil {
		c.tell(fmt.Errorf("capture: %w", c.err))
	}
}

// A block is its type, its length, the body, and its length again; everything
// in it is aligned to 4 bytes.

// begin begins one. The lock is held, as by all that follow.
func (c *Capture) begin(kind uint32) {
	c.block = c.block[:0]
	c.put32(kind)
	c.put32(0)
}

// put32 appends to the block. The lock is held.
func (c *Capture) put32(v uint32) { c.block = binary.LittleEndian.AppendUint32(c.block, v) }

// bytes appends to the block, aligned. The lock is held.
func (c *Capture) bytes(b []byte) {
	c.block = append(c.block, b...)
	for len(c.block)%4 != 0 {
		c.block = append(c.block, 0)
	}
}

// option appends one to the block. The lock is held.
func (c *Capture) option(code uint16, value []byte) {
	c.put32(uint32(code) | uint32(len(value))<<16)
	c.bytes(value)
}

// end writes the block. The lock is held.
func (c *Capture) end() {
	n := uint32(len(c.block) + 4)
	c.put32(n)
	binary.LittleEndian.PutUint32(c.block[4:], n)
	if _, err := c.w.Write(c.block); err != nil && c.err == nil {
		c.err = err
	}
}
