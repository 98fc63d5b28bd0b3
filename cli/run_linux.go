package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mpsocks/mpsocks/client"
	"github.com/mpsocks/mpsocks/client/confine"
	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/fq"
	"github.com/mpsocks/mpsocks/mux/packet"
	"github.com/mpsocks/mpsocks/mux/tcpio"
)

const (
	// lendAgain is how often a client that has gone is looked for.
	lendAgain = 250 * time.Millisecond
	// The exit codes of env(1), timeout(1) and others for what is no program.
	exitNotFound      = 127
	exitNotExecutable = 126
)

// systemCommands are those that only this system has.
func systemCommands() []*cobra.Command {
	return []*cobra.Command{newRun(), newRunInside(), newRunHold()}
}

// newRun is `mpsocks run`: a program whose only way out is the tunnel.
func newRun() *cobra.Command {
	var file, socket, name, class string
	var paths []string
	var loopback []uint16
	cmd := &cobra.Command{
		Use:   "run [-c FILE] [flags] -- PROGRAM [ARGUMENT]...",
		Short: "Run a program whose only way out is the tunnel (Linux, no root)",
		Long: `Run a program in a network of its own, whose only way out is the tunnel. All of
its UDP and TCP goes through it, whatever the program knows of proxies; names
are resolved at the server. Its files, terminal, user and environment are as
ever. What listens on this machine's loopback, and abstract sockets, it does not
reach; --loopback PORT lets it reach a TCP port there. When the client ends,
the program's traffic waits, and goes on with the next one. What the program
leaves behind keeps its network, in the background.

It uses the client of the same user that is running, or with -c FILE one of its
own. The exit status is the program's. sudo, su and the like gain nothing inside:
put them before mpsocks.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := findProgram(args[0])
			if err != nil {
				return err
			}
			if name == "" {
				name = filepath.Base(args[0])
			}
			if class != "" {
				if _, err := mux.ParseClass(class); err != nil {
					return fmt.Errorf("--class %s", conf.Misspelt(class, fq.ClassNames()))
				}
			}
			p := confine.Program{
				Path: path, Args: args, Resolvers: []netip.Addr{packet.ServerHost4},
				Local4: tun.Inside4, Local6: tun.Inside6, MTU: tun.MTU, Loopback: loopback,
			}
			keepIgnored()
			gainsNothing(path, cmd.ErrOrStderr())
			unpacks(path)
			h := hold{File: file, Socket: socket, Want: client.Program{Name: name, Class: class, Paths: paths}}
			lend, err := h.lender(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return runProgram(cmd.Context(), p, &h, lend, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault) // files are the program's
	cmd.Flags().StringVarP(&file, "config", "c", "", "start a client of its own with this configuration")
	cmd.Flags().StringVar(&socket, "socket", "", "the client's run_socket, where it is not the usual one")
	cmd.Flags().StringVar(&name, "name", "", "what rules and status know the program by, as a SOCKS5 user (the program's name)")
	cmd.Flags().StringVar(&class, "class", "", "the class of all that the program exchanges, before any rule: latency, bulk, ordered, metered or backup")
	cmd.Flags().StringSliceVar(&paths, "paths", nil, "the only paths that the program uses, by name; while none of them works its traffic waits")
	cmd.Flags().Var(portList{&loopback}, "loopback", "let the program reach this TCP port of this machine's loopback (may be given again)")
	return cmd
}

// portList is a flag that may be given several times.
type portList struct{ ports *[]uint16 }

func (p portList) String() string { return "" }
func (p portList) Type() string   { return "PORT" }
func (p portList) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no port", s)
	}
	*p.ports = append(*p.ports, uint16(n))
	return nil
}

// newRunInside is what `mpsocks run` starts in the program's namespaces.
func newRunInside() *cobra.Command {
	return &cobra.Command{
		Use: confine.Command, Hidden: true, DisableFlagParsing: true, // they are the program's
		RunE: func(_ *cobra.Command, args []string) error {
			keepIgnored()
			return confine.Inside(args)
		},
	}
}

// keepIgnored has the program that is started begin as this one did: Main has taken interrupts
// for itself. Hangups nobody has taken yet.
func keepIgnored() {
	if deafToInterrupts {
		signal.Ignore(os.Interrupt)
	}
}

// runProgram runs a program to its end. The program begins when a client has its
// device.
func runProgram(ctx context.Context, p confine.Program, h *hold, lend lender, stderr io.Writer) error {
	ctx = context.WithoutCancel(ctx) // signals are the program's
	r, err := confine.Start(p)
	if err != nil {
		return err
	}
	defer r.Device.Close()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	serving, stop := context.WithCancel(ctx)
	began := make(chan struct{})
	lent := make(chan struct{})
	var lendErr error // set when lent is closed
	var once sync.Once
	go func() {
		defer close(lent)
		lendErr = lend(serving, r.Device, func() { once.Do(func() { close(began) }) })
	}()
	defer func() { stop(); <-lent }()
	select {
	case <-began:
	case <-lent:
		r.Kill()
		return lendErr
	case s := <-signals:
		r.Kill()
		return exitError{128 + int(s.(syscall.Signal)), nil}
	}
	for i, l := range r.Locals {
		defer l.Close()
		go forwardLocal(l, p.Loopback[i], stderr)
	}
	if err := r.Go(); err != nil {
		r.Kill()
		return err
	}
	type end struct {
		status syscall.WaitStatus
		err    error
	}
	done := make(chan end, 1)
	go func() {
		status, err := r.Wait()
		done <- end{status, err}
	}()
	over := lent
	for {
		select {
		case s := <-signals:
			if !fromTerminal(s) {
				r.Signal(s)
			}
		case <-over:
			fmt.Fprintln(stderr, "mpsocks: the program's network has ended:", lendErr)
			over = nil
		case e := <-done:
			if e.err != nil {
				return e.err
			}
			if err := h.handOver(r); err != nil {
				fmt.Fprintln(stderr, "mpsocks: what the program has left behind has no network any more:", err)
			}
			return exitAs(e.status)
		}
	}
}

// fromTerminal says whether the program has got that signal itself: keys of the
// terminal go to all of its foreground group.
func fromTerminal(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	group, err := unix.IoctlGetInt(int(os.Stdin.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// exitAs makes this program's end as the other's was.
func exitAs(s syscall.WaitStatus) error {
	if s.Signaled() {
		// A shell wants to see the signal itself: it stops a loop then.
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // its core is there already
		fatal(s.Signal())
		unix.Kill(os.Getpid(), s.Signal())
		time.Sleep(100 * time.Millisecond)
		return exitError{128 + int(s.Signal()), nil}
	}
	if s.ExitStatus() == 0 {
		return nil
	}
	return exitError{s.ExitStatus(), nil}
}

// fatal gives a signal back the kernel's own effect. The language's, of those that a
// program crashes by, is to tell of this process, and another exit status.
func fatal(s syscall.Signal) {
	size := 8 // of the kernel's sigset_t
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		size = 16
	}
	var action [16]uint64 // zero is SIG_DFL, on every architecture
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, uintptr(size), 0, 0)
}

// forwardLocal carries connections from the program's loopback to this
// machine's, until the listener is closed.
func forwardLocal(l net.Listener, port uint16, stderr io.Writer) {
	_ = tcpio.AcceptAll(context.Background(), l.Accept, func(in net.Conn) {
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp", net.JoinHostPort("localhost", strconv.Itoa(int(port))))
			if err != nil {
				in.(*net.TCPConn).SetLinger(0)
				return
			}
			defer out.Close()
			done := make(chan struct{})
			go func() {
				io.Copy(out, in)
				out.(*net.TCPConn).CloseWrite()
				close(done)
			}()
			io.Copy(in, out)
			in.(*net.TCPConn).CloseWrite()
			<-done
		}()
	}, func(err error) {
		fmt.Fprintf(stderr, "mpsocks: connections of the program's to port %d of this machine cannot be accepted: %v\n", port, err)
	})
}
