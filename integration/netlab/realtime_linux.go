package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// The real-time priorities of a lab: the network comes before the hosts at its edges, and both before the programs
// under test, as they would if they were machines of their own.
const (
	PriorityNetwork = 10 // the forwarder
	PriorityLoad    = 5  // senders, receivers and echo servers
)

// Realtime puts the calling goroutine, alone on its thread, into the real-time class until restore is called from the
// same goroutine. A thread in it that never sleeps starves the machine. Without the right to do so, only the thread is locked.
//
// The Go scheduler stops any goroutine that has run for 10 ms, blocked in a system call or not, and an ordinary thread
// must then give it its turn back; so must it when no GOMAXPROCS slot is free. On a busy machine either takes tens of
// milliseconds: programs with such goroutines call Hasten first and set GOMAXPROCS well above their number.
func Realtime(priority uint32) (restore func()) {
	runtime.LockOSThread()
	if setPolicy(0, unix.SCHED_FIFO, priority, unix.SCHED_FLAG_RESET_ON_FORK) != nil {
		return runtime.UnlockOSThread
	}
	return func() {
		if setPolicy(0, unix.SCHED_NORMAL, 0, 0) == nil && unix.Setpriority(unix.PRIO_PROCESS, 0, haste) == nil {
			runtime.UnlockOSThread() // otherwise the thread must end with its goroutine
		}
	}
}

// haste is the niceness of a program that calls Hasten.
var haste int

// Hasten lets the whole program come before ordinary ones, with all threads that it has and will have. Call it from
// main, before any lab is made. Programs that are started by Namespace.Start are ordinary again.
func Hasten() {
	haste = -20
	forThreads(os.Getpid(), func(tid int) { _ = unix.Setpriority(unix.PRIO_PROCESS, tid, haste) })
}

// forThreads calls f for each thread of a process; threads that begin meanwhile inherit from the one that makes them.
func forThreads(pid int, f func(tid int)) {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, name := range names {
		if tid, err := strconv.Atoi(filepath.Base(name)); err == nil {
			f(tid)
		}
	}
}

// setPolicy moves a thread, 0 for the calling one, to a scheduling policy.
func setPolicy(tid int, policy, priority uint32, flags uint64) error {
	return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority, Flags: flags}, 0)
}
