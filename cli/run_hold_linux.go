package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client"
	"github.com/mpsocks/mpsocks/client/confine"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/lull"
)

// A program may end before those that it has started: a daemon does, and the starter of many
// a desktop program. What is left then is handed, with its device, to a process of its own in
// the background, `mpsocks run-hold`, which ends with the last of them.

const (
	// leftTries and leftPause are how often, and how long after the program, those that it
	// leaves behind may still be about to end.
	leftTries = 20
	leftPause = 10 * time.Millisecond
	// emptyEvery is how often run-hold looks whether somebody is left.
	emptyEvery = 2 * time.Second
)

// A hold is what a device is lent by.
type hold struct {
	File   string // of a client of its own; "" = one that runs
	Socket string // of that; "" = the usual one
	Want   client.Program

	conn atomic.Pointer[net.UnixConn] // to the client that has the device, if it runs
}

// heir is what run-hold is told.
type heir struct {
	File, Socket string
	Want         client.Program
	Device       int    // a descriptor
	Conn         int    // another, to the client that has the device; -1 = none
	Namespace    string // of the network; "" = not known
	Left         []int  // processes
}

// A lender serves a device until ctx ends (nil) or there is no hope; ready is
// called whenever a client has it.
type lender func(ctx context.Context, device *os.File, ready func()) error

func (h *hold) lender(stderr io.Writer) (lender, error) {
	if h.File != "" {
		return h.ownClient(stderr)
	}
	return h.runningClient()
}

// ownClient starts a client in this process, without what the file lets in: the client that
// runs by the same file may have that.
func (h *hold) ownClient(stderr io.Writer) (lender, error) {
	cfg, err := conf.LoadClient(h.File)
	if err != nil {
		return nil, err
	}
	tunnelOnly(cfg)
	log, _ := newLogger(cfg.Log, stderr)
	log = log.Level(zerolog.WarnLevel)
	return func(ctx context.Context, device *os.File, ready func()) error {
		c, err := client.New(cfg, log, nil)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		err = c.ServeTUN(ctx, device, h.Want, ready)
		cancel()
		return errors.Join(err, <-ended)
	}, nil
}

// runningClient borrows the tunnel of a client that runs, and of the next one
// when that has ended.
func (h *hold) runningClient() (lender, error) {
	sockets := []string{h.Socket}
	if h.Socket == "" {
		if sockets = client.RunSockets(); len(sockets) == 0 {
			return nil, errors.New("there is no runtime directory of this user: start the client with run_socket: PATH, and give --socket PATH")
		}
	}
	var failed error
	for _, s := range sockets {
		conn, err := net.Dial("unixpacket", s)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		conn.Close()
		h.Socket = s
		return h.borrow, nil
	}
	return nil, fmt.Errorf("no client of this user is running (%w): start one with mpsocks client -c FILE, or give its file to this command by -c FILE", failed)
}

func (h *hold) borrow(ctx context.Context, device *os.File, ready func()) error {
	for {
		err := client.Borrow(ctx, h.Socket, h.Want, device, func(conn *net.UnixConn) {
			h.conn.Store(conn)
			ready()
		})
		h.conn.Store(nil)
		if _, refused := errors.AsType[*client.Refusal](err); refused {
			return err
		}
		if !lull.Pause(ctx, lendAgain) {
			return nil
		}
	}
}

// handOver gives the device of a program that has ended to those that it has left behind,
// if there are any.
func (h *hold) handOver(r *confine.Running) error {
	o := heir{File: h.File, Socket: h.Socket, Want: h.Want, Conn: -1, Namespace: r.Namespace}
	for range leftTries {
		if o.Left = r.Left(); len(o.Left) == 0 {
			return nil
		}
		time.Sleep(leftPause)
	}
	if o.File != "" {
		abs, err := filepath.Abs(o.File)
		if err != nil {
			return err
		}
		o.File = abs
	}
	var err error
	if o.Device, err = inheritable(r.Device); err != nil {
		return err
	}
	defer unix.Close(o.Device)
	if conn := h.conn.Load(); conn != nil {
		if o.Conn, err = inheritable(conn); err != nil {
			return err
		}
		defer unix.Close(o.Conn)
	}
	b, err := json.Marshal(&o)
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", "run-hold", string(b))
	cmd.Args[0], cmd.Dir = "mpsocks", "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the terminal's signals are not for it
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// inheritable is another descriptor of a file that the next program started here has too.
// os.File.Fd would have the file block, for everybody who has it.
func inheritable(f syscall.Conn) (fd int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	if e := raw.Control(func(old uintptr) { fd, err = unix.Dup(int(old)) }); e != nil {
		return -1, e
	}
	return fd, err
}

// newRunHold is what `mpsocks run` leaves behind for those that its program leaves behind.
func newRunHold() *cobra.Command {
	return &cobra.Command{
		Use: "run-hold", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var o heir
			if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
				return errors.New("this command is started by mpsocks run")
			}
			unix.CloseOnExec(o.Device)
			device := os.NewFile(uintptr(o.Device), "/dev/net/tun")
			if device == nil {
				return errors.New("this command is started by mpsocks run")
			}
			defer device.Close()
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				defer cancel()
				o.awaitEmpty(ctx)
			}()
			if o.Conn >= 0 {
				unix.CloseOnExec(o.Conn)
				awaitEnd(ctx, os.NewFile(uintptr(o.Conn), "client"))
			}
			h := &hold{File: o.File, Socket: o.Socket, Want: o.Want}
			lend := lender(h.borrow)
			if h.File != "" {
				var err error
				if lend, err = h.ownClient(io.Discard); err != nil {
					return err
				}
			}
			return lend(ctx, device, func() {})
		},
	}
}

// awaitEnd waits until the client behind a connection has gone, or ctx ends.
func awaitEnd(ctx context.Context, f *os.File) {
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, _ = conn.Read(make([]byte, 1)) // nothing comes but its end
}

// awaitEmpty waits until nobody is left in the network, or ctx ends.
func (o *heir) awaitEmpty(ctx context.Context) {
	var watched []unix.PollFd // those that can be told from others of the same number later
	for _, pid := range o.Left {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			watched = append(watched, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	t := time.NewTicker(emptyEvery)
	defer t.Stop()
	for o.occupied(watched) {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// occupied says whether one of the processes lives, or one that is in the same network.
func (o *heir) occupied(watched []unix.PollFd) bool {
	for i := range watched {
		if n, _ := unix.Poll(watched[i:i+1], 0); n == 0 { // readable is at its end
			return true
		}
	}
	if o.Namespace == "" {
		return false
	}
	list, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	for _, e := range list {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net")); err == nil && ns == o.Namespace {
			return true
		}
	}
	return false
}
