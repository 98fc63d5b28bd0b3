package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cost is what a datagram takes of one half: an echoed one is two, as it is carried there and back.
type cost struct {
	Micros   float64 `json:"us"`           // of processor time, user and system
	Calls    float64 `json:"system_calls"` //
	Switches float64 `json:"context_switches"`
}

// taken is what a half has taken so far.
type taken struct{ calls, switches uint64 }

// An account counts the system calls and the context switches of a process from now on, with those of threads
// that it makes later. The kernel does (perf_event_open(2)); it takes root and costs 0.1 us a call, so that
// only loads whose cost is asked for have one. The zero value counts nothing.
type account struct{ calls, switches []int }

// open attaches an account to every thread of a process.
func (a *account) open(pid int) error {
	id, err := os.ReadFile("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id")
	if err != nil {
		return fmt.Errorf("system calls are not counted: %w", err)
	}
	event, err := strconv.ParseUint(strings.TrimSpace(string(id)), 10, 32)
	if err != nil {
		return fmt.Errorf("system calls are not counted: %w", err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return fmt.Errorf("system calls are not counted: %w", err)
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		for _, c := range []struct {
			kind   uint32
			config uint64
			fds    *[]int
		}{{unix.PERF_TYPE_TRACEPOINT, event, &a.calls}, {unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CONTEXT_SWITCHES, &a.switches}} {
			attr := unix.PerfEventAttr{Type: c.kind, Config: c.config, Bits: unix.PerfBitInherit}
			attr.Size = uint32(unsafe.Sizeof(attr))
			fd, err := unix.PerfEventOpen(&attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
			if errors.Is(err, unix.ESRCH) {
				continue // the thread has ended
			} else if err != nil {
				return fmt.Errorf("perf_event_open: %w", err)
			}
			*c.fds = append(*c.fds, fd)
		}
	}
	return nil
}

// read is what was counted so far.
func (a *account) read() (t taken, err error) {
	sum := func(fds []int) (n uint64) {
		for _, fd := range fds {
			var b [8]byte
			if _, e := unix.Read(fd, b[:]); e != nil {
				err = fmt.Errorf("perf_event_open: read: %w", e)
			}
			n += binary.NativeEndian.Uint64(b[:])
		}
		return n
	}
	return taken{sum(a.calls), sum(a.switches)}, err
}

func (a *account) close() {
	for _, fds := range [][]int{a.calls, a.switches} {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

// costs are those of each datagram for the client and the server; nothing without an account.
func (m *measurement) costs(used [2]taken) {
	carried := 0.0
	for _, d := range m.Datagrams {
		carried += float64(d.Sent + d.Received)
	}
	if carried == 0 || used[0].calls == 0 {
		return
	}
	for i, percent := range []float64{m.CPU.Client, m.CPU.Server} {
		m.Cost = append(m.Cost, cost{
			Micros: percent / 100 * m.Seconds * 1e6 / carried,
			Calls:  float64(used[i].calls) / carried, Switches: float64(used[i].switches) / carried,
		})
	}
}

// costOf is a figure of the more expensive half.
func costOf(figure func(cost) float64) func(*measurement) float64 {
	return func(m *measurement) float64 {
		worst := math.NaN()
		for _, c := range m.Cost {
			if v := figure(c); math.IsNaN(worst) || v > worst {
				worst = v
			}
		}
		return worst
	}
}
