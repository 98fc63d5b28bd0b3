package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux/errno"
	"github.com/mpsocks/mpsocks/mux/lull"
)

// newDemo is `mpsocks demo`, which `make run` calls: both halves on this machine,
// as two processes, over two loopback paths, with a check that they work. It
// is hidden, for it is a demonstration and no way to run a proxy.
func newDemo() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:    "demo",
		Short:  "Run both halves on this machine over two loopback paths, and check that they work",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{dir: dir, out: cmd.OutOrStdout(), log: cmd.ErrOrStderr()}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "run", "directory of the two configurations; they are made if they are not there")
	return cmd
}

// demo is both halves, started as a person would start them.
type demo struct {
	dir      string
	out, log io.Writer
	speaking sync.Mutex

	socks, tunnel, clientAdmin, serverAdmin netip.AddrPort

	// state is where the halves keep what they do where the user has no place for it; ""
	// where there is one.
	state string
}

// A speaker puts who speaks in front of every line, and writes whole lines only.
type speaker struct {
	w    io.Writer
	mu   *sync.Mutex // of all speakers
	who  string
	rest []byte // the beginning of a line
}

func (s *speaker) Write(b []byte) (int, error) {
	s.rest = append(s.rest, b...)
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		s.line(s.rest[:i+1])
		s.rest = s.rest[i+1:]
	}
}

func (s *speaker) line(l []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "%s%s", s.who, l)
}

// end writes what is left of a last line.
func (s *speaker) end() {
	if len(s.rest) > 0 {
		s.line(append(s.rest, '\n'))
	}
}

// run prepares, starts, checks and waits.
func (d *demo) run(ctx context.Context) error {
	if err := d.configure(); err != nil {
		return err
	}
	if err := d.choosePorts(); err != nil {
		return err
	}
	dir := ""
	if keepState(&dir, zerolog.Nop()); dir == "" {
		var err error
		if d.state, err = filepath.Abs(filepath.Join(d.dir, "state")); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	// The environment wins over the files, so ports that had to move need no
	// change there.
	group.Go(func() error {
		return d.child(ctx, "server", "MPSOCKS_LISTEN="+d.tunnel.String(), "MPSOCKS_ADMIN="+addrText(d.serverAdmin))
	})
	group.Go(func() error {
		return d.child(ctx, "client", "MPSOCKS_LISTEN="+d.socks.String(), "MPSOCKS_ADMIN="+addrText(d.clientAdmin),
			"MPSOCKS_SERVER_ADDRESSES="+d.tunnel.String())
	})
	group.Go(func() error {
		// Ten seconds: the halves start in a fraction of one.
		checking, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		said, err := d.selfCheck(checking)
		if ctx.Err() != nil {
			return nil // a signal, or a half that has failed and says so itself
		}
		if err != nil {
			return fmt.Errorf("self-check failed: %w", err)
		}
		fmt.Fprintf(d.out, "\nself-check passed: %s\nSOCKS5 proxy on %s (try: curl --socks5-hostname %s https://example.com/)\n%sCtrl-C stops it\n",
			said, d.socks, d.socks, d.pages())
		return nil
	})
	return group.Wait()
}

// configure writes both files unless they are there.
func (d *demo) configure() error {
	_, err := os.Stat(filepath.Join(d.dir, "client.yaml"))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p := pair{
		Name: "demo", Server: "127.0.0.1:7443", ServerListen: "127.0.0.1:7443", SOCKS: "127.0.0.1:1080",
		ClientAdmin: "127.0.0.1:9081", ServerAdmin: "127.0.0.1:9082", Paths: loopbackPaths(),
		// The self-check connects to this machine, through the tunnel.
		Allow: []string{"127.0.0.0/8"},
	}
	server, client, err := p.write(d.dir, false)
	if err == nil {
		fmt.Fprintf(d.out, "wrote %s and %s\n", server, client)
	}
	return err
}

// choosePorts takes the addresses from the files, with a free port in the
// place of one that is taken.
func (d *demo) choosePorts() error {
	client, err := conf.LoadClient(filepath.Join(d.dir, "client.yaml"))
	if err != nil {
		return err
	}
	server, err := conf.LoadServer(filepath.Join(d.dir, "server.yaml"))
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what string
		want netip.AddrPort
		got  *netip.AddrPort
	}{
		{"SOCKS5", client.Listen[0], &d.socks},
		{"the tunnel", server.Listen[0].Address, &d.tunnel},
		{"the client's status", firstAddr(client.Admin), &d.clientAdmin},
		{"the server's status", firstAddr(server.Admin), &d.serverAdmin},
	} {
		if !c.want.IsValid() {
			continue // off
		}
		if *c.got, err = freePort(c.want); err != nil {
			return err
		}
		if *c.got != c.want {
			fmt.Fprintf(d.out, "%s is taken; %s is on %s instead\n", c.want, c.what, *c.got)
		}
	}
	return nil
}

// freePort is the address if it can be bound, for TCP, and else the same host
// with a port that can.
func freePort(want netip.AddrPort) (netip.AddrPort, error) {
	for _, a := range []netip.AddrPort{want, netip.AddrPortFrom(want.Addr(), 0)} {
		l, err := net.Listen("tcp", a.String())
		if err == nil {
			got := l.Addr().(*net.TCPAddr).AddrPort()
			l.Close()
			return netip.AddrPortFrom(want.Addr(), got.Port()), nil
		}
		if !errors.Is(err, errno.AddrInUse) {
			return want, err
		}
	}
	return want, fmt.Errorf("no free port on %s", want.Addr())
}

// child runs one half until ctx ends; any other end of it is an error.
func (d *demo) child(ctx context.Context, half string, env ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, half, "-c", filepath.Join(d.dir, half+".yaml"))
	// Lines for a person, each with who speaks.
	cmd.Env = append(append(os.Environ(), "MPSOCKS_LOG_FORMAT=console", "NO_COLOR=1"), env...)
	if d.state != "" {
		cmd.Env = append(cmd.Env, "MPSOCKS_STATE_DIR="+d.state)
	}
	said := &speaker{w: d.log, mu: &d.speaking, who: half + " | "}
	defer said.end()
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Cancel = func() error {
		if runtime.GOOS == "windows" { // which has no gentle signal for a child
			return cmd.Process.Kill()
		}
		return cmd.Process.Signal(os.Interrupt)
	}
	// It cuts its own shutdown short before that.
	cmd.WaitDelay = shutdownLimit + time.Second
	err = cmd.Run()
	// A Ctrl-C goes to all three processes, and a half may be the first
	// to end; after this time it was not that.
	if !lull.Pause(ctx, 500*time.Millisecond) {
		return nil
	}
	if err == nil {
		err = errors.New("it stopped by itself")
	}
	return fmt.Errorf("the %s: %w", half, err)
}

// selfCheck sends UDP and TCP through the proxy and back, and looks whether
// both subflows are there. It tries again until ctx ends: the halves are just
// starting.
func (d *demo) selfCheck(ctx context.Context) (said string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	go serveEcho(listener) // until the listener is closed

	proxy := socksProxy{address: d.socks.String()}
	var udp, tcp time.Duration
	subflows := 0
	for {
		err = func() error {
			if udp, err = checkUDP(ctx, proxy); err != nil {
				return fmt.Errorf("UDP by %s: %w", tunnelEcho, err)
			}
			if tcp, err = checkTCP(ctx, proxy, listener.Addr().String()); err != nil {
				return fmt.Errorf("CONNECT to %s: %w", listener.Addr(), err)
			}
			if !d.clientAdmin.IsValid() {
				return nil
			}
			if subflows, err = d.countSubflows(ctx); err != nil {
				return err
			}
			if subflows < 2 {
				return fmt.Errorf("there are %d subflows, not two", subflows)
			}
			return nil
		}()
		if err == nil {
			over := ""
			if subflows > 0 {
				over = fmt.Sprintf(", over %d subflows", subflows)
			}
			return fmt.Sprintf("UDP round trip %.2f ms, CONNECT and echo %.2f ms%s",
				udp.Seconds()*1e3, tcp.Seconds()*1e3, over), nil
		}
		if !lull.Pause(ctx, 100*time.Millisecond) {
			return "", err
		}
	}
}

// serveEcho sends everything back, to each connection until it ends.
func serveEcho(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}
}

// checkUDP sends one datagram to the server's echo port and back.
func checkUDP(ctx context.Context, proxy socksProxy) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	a, err := proxy.associate(ctx, tunnelEcho)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	payload, match := question(tunnelEcho, 0)
	return a.exchange(payload, 2*time.Second, match)
}

// checkTCP connects to an echo through the tunnel, and sends a line.
func checkTCP(ctx context.Context, proxy socksProxy, target string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	start := time.Now()
	conn, err := proxy.connect(ctx, target)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	const line = "mpsocks was here\n"
	if _, err := io.WriteString(conn, line); err != nil {
		return 0, err
	}
	got := make([]byte, len(line))
	if _, err := io.ReadFull(conn, got); err != nil {
		return 0, err
	}
	if string(got) != line {
		return 0, errors.New("the echo differs")
	}
	return time.Since(start), nil
}

// countSubflows asks the client's status.
func (d *demo) countSubflows(ctx context.Context) (int, error) {
	s, err := d.admin(d.clientAdmin).Status(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, session := range s.All() {
		n += len(session.Subflows)
	}
	return n, nil
}

// admin asks one of the halves, with the token that it has kept by now.
func (d *demo) admin(addr netip.AddrPort) *admin.Client {
	dirs := stateDirs()
	if d.state != "" {
		dirs = []string{d.state}
	}
	return admin.NewClient(conf.Admin{Addr: addr}, tokenIn(dirs))
}

// pages are the links of the halves' pages, a line each.
func (d *demo) pages() string {
	var b strings.Builder
	for _, h := range []struct {
		half string
		addr netip.AddrPort
	}{{"client", d.clientAdmin}, {"server", d.serverAdmin}} {
		if c := d.admin(h.addr); h.addr.IsValid() && c.Token != "" {
			fmt.Fprintf(&b, "page of the %s: %s\n", h.half, c.URL("/?token="+c.Token))
		}
	}
	return b.String()
}

// firstAddr is the first admin address that is no socket; the zero value for none.
func firstAddr(list []conf.Admin) netip.AddrPort {
	for _, a := range list {
		if a.Addr.IsValid() {
			return a.Addr
		}
	}
	return netip.AddrPort{}
}
