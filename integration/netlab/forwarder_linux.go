package netlab

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The forwarder is a child process with one thread. In each round it
//  1. sleeps until a packet is due, one comes in or the parent wants something,
//  2. reads every device until it is empty,
//  3. writes out the packets that are due.
//
// The rest of the Go runtime has nothing to do in it: the collector is off (the loop allocates nothing but new slots,
// which it keeps, and a few hundred bytes per request of the parent), preemption signals are off, and all waiting is
// done in the thread itself.

const (
	// quantum is the shortest time between two rounds: below it packets are taken in batches. It bounds the error of a
	// packet's arrival time, and keeps a 300 Mbit/s run from waking the thread for every packet.
	quantum = 100 * time.Microsecond
	// pollEvery is how long the parent may have to wait for an answer while the network is busy.
	pollEvery = 2 * time.Millisecond
	// slotSize holds any packet of the devices' MTU of 1,500 bytes.
	slotSize = 2048
	// readBurst ends a round's reading of one device, so that a flood on one does not hold up the others.
	readBurst = 256
	// controlFD and firstTUN are where os/exec puts the extra files.
	controlFD = 3
	firstTUN  = 4
)

// Main must be the first call in main or TestMain of a program that uses the lab. It returns at once, except in the
// child process that forwards the packets, where it never does.
func Main() {
	if os.Getenv(childVariable) == "" {
		return
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(2 << 30)
	runtime.LockOSThread() // the policy is the thread's
	f := &forwarder{start: time.Now()}
	if err := f.run(); err != nil {
		fmt.Fprintln(os.Stderr, "netlab forwarder:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// forwarder is the state of the child's only thread.
type forwarder struct {
	start time.Time
	poll  int
	tuns  []int   // 2·path is the client's device, 2·path+1 the world's
	pipes []*pipe // pipes[i] carries what tuns[i] reads to tuns[i^1]
	free  [][]byte
	msg   []byte

	next   int64 // when the first packet of all is due
	busy   bool  // this round moved a packet
	round  int64 // when this round began
	polled int64 // when descriptors were last asked about by epoll
}

// clock is the time base of the pipes.
func (f *forwarder) clock() int64 { return int64(time.Since(f.start)) }

func (f *forwarder) run() error {
	if err := f.open(); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, len(f.tuns)+1)
	for {
		// A busy network is served in batches: asleep for the rest of the quantum, whatever comes. A quiet one is served
		// packet by packet, to the microsecond.
		if f.busy {
			f.busy = false
			if left := int64(quantum) - (f.clock() - f.round); left > 0 {
				f.sleep(left)
			}
			f.round = f.clock()
			for i := range f.tuns {
				f.read(i)
			}
			f.deliver(f.clock())
			if f.busy && f.round-f.polled < int64(pollEvery) {
				continue
			}
		}
		f.polled = f.clock()
		until := f.next
		if f.busy {
			until = 0
		}
		n, err := f.wait(events, until)
		if err != nil {
			return err
		}
		f.round = f.clock()
		for _, e := range events[:n] {
			if e.Fd == controlFD {
				closed, err := f.control()
				if closed || err != nil {
					return err
				}
				continue
			}
			f.read(int(e.Fd) - firstTUN)
		}
		f.deliver(f.clock())
	}
}

// open takes over what the parent passed: links, devices, and a scheduling class above the programs under test.
func (f *forwarder) open() error {
	f.msg = make([]byte, 256<<10)
	n, err := unix.Read(controlFD, f.msg)
	if err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	var s setup
	if err := json.Unmarshal(f.msg[:n], &s); err != nil {
		return fmt.Errorf("read setup: %w", err)
	}
	// A refusal (a container without the right) costs accuracy, which the statistics show; it is no reason to stop.
	// All threads have it: the runtime takes the loop's turn away every 10 ms, and another thread gives it back.
	forThreads(os.Getpid(), func(tid int) {
		if setPolicy(tid, unix.SCHED_FIFO, PriorityNetwork, 0) != nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, -20)
		}
	})
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	if f.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	for i, l := range s.Links {
		f.tuns = append(f.tuns, firstTUN+i)
		f.pipes = append(f.pipes, newPipe(l, s.Seed+uint64(i)))
	}
	for _, fd := range append([]int{controlFD}, f.tuns...) {
		if err := unix.SetNonblock(fd, true); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		if err := unix.EpollCtl(f.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return fmt.Errorf("watch descriptor %d: %w", fd, err)
		}
	}
	return f.reply(&reply{})
}

// deliver writes out what is due and notes when the next packet will be.
func (f *forwarder) deliver(now int64) {
	f.next = never
	for i, p := range f.pipes {
		for {
			buf, n, deliver, ok := p.pop(now)
			if !ok {
				break
			}
			f.busy = true
			if deliver {
				// The write runs the receiving stack to its end: acknowledgements are already waiting in the other direction after it.
				_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(f.tuns[i^1]), uintptr(unsafe.Pointer(&buf[0])), uintptr(n))
				if errno != 0 {
					p.stats.Refused++
				} else {
					p.stats.Delivered++
					p.stats.DeliveredB += uint64(n)
				}
			}
			f.free = append(f.free, buf)
		}
		f.next = min(f.next, p.next())
	}
}

// wait sleeps until a descriptor is readable or the time has come. A wait for a time already past only polls.
func (f *forwarder) wait(events []unix.EpollEvent, until int64) (int, error) {
	var timeout unix.Timespec
	arg := unsafe.Pointer(nil)
	if until != never {
		timeout = unix.NsecToTimespec(max(until-f.clock(), 0))
		arg = unsafe.Pointer(&timeout)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(f.poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(arg), 0, 0)
	if errno != 0 && errno != unix.EINTR {
		return 0, fmt.Errorf("epoll_pwait2: %w", errno)
	}
	if errno == unix.EINTR {
		return 0, nil
	}
	return int(n), nil
}

func (f *forwarder) sleep(ns int64) {
	ts := unix.NsecToTimespec(ns)
	_, _, _ = unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
}

// read takes all packets that device i has.
func (f *forwarder) read(i int) {
	now := f.clock()
	for range readBurst {
		if len(f.free) == 0 {
			slab := make([]byte, 64*slotSize)
			for len(slab) > 0 {
				f.free = append(f.free, slab[:slotSize:slotSize])
				slab = slab[slotSize:]
			}
		}
		buf := f.free[len(f.free)-1]
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(f.tuns[i]), uintptr(unsafe.Pointer(&buf[0])), slotSize)
		if errno != 0 {
			return
		}
		f.busy = true
		if f.pipes[i].push(now, buf, int(n)) {
			f.free = f.free[:len(f.free)-1]
		}
	}
}

// control serves one request of the parent; its end of the pair closed means that the lab is over.
func (f *forwarder) control() (closed bool, err error) {
	n, err := unix.Read(controlFD, f.msg)
	if err == unix.EAGAIN {
		return false, nil
	}
	if n == 0 || err != nil {
		return true, nil
	}
	var q request
	if err := json.Unmarshal(f.msg[:n], &q); err != nil {
		return false, f.reply(&reply{Error: err.Error()})
	}
	if q.Set {
		f.pipes[q.Pipe].set(f.clock(), q.Link)
		return false, f.reply(&reply{})
	}
	r := reply{Stats: make([]LinkStats, len(f.pipes))}
	for i, p := range f.pipes {
		r.Stats[i] = p.snapshot()
	}
	return false, f.reply(&r)
}

func (f *forwarder) reply(r *reply) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = unix.Write(controlFD, b)
	return err
}
