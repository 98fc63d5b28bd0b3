// Package admin serves what people and their tools look at, over HTTP, on either
// half: the page, the status, metrics and health, and what a person changes while
// the half runs. It is the only room that serves net/http and knows Prometheus.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// Config is what a Server is made of.
type Config struct {
	Addrs    []conf.Admin
	StateDir string // where the token is and the addresses are written; "" is nowhere
	Half     string
	Version  string
	// Status is the half at this moment.
	Status func() *status.Status
	// Controls are what a person may change.
	Controls Controls
	Events   *status.Events // or nil
	Pprof    bool
	Log      zerolog.Logger
}

// Controls change a half while it runs; those that it does not have are nil.
type Controls struct {
	// Reload has the half read its configuration anew, and says line by line what has
	// changed; an error has changed nothing.
	Reload func() ([]string, error)
	// Drain has the half take nothing new and end when it is empty.
	Drain func() error

	PausePath  func(name string, paused bool) error
	SetBackup  func(name string, on bool) error
	SetMetered func(name string, on bool) error
	ClassFlow  func(to netip.AddrPort, class string) error
	LogLevel   func(level string) error
	// Capture begins a capture, or ends it; CaptureFile is where the one is that
	// runs or ended last, "" for none, and whether it runs.
	Capture     func(on bool) error
	CaptureFile func() (file string, on bool)
}

// Server is the HTTP server of either half, at all its addresses.
type Server struct {
	cfg      Config
	porter   porter
	recorder *recorder
	server   *http.Server
	said     rate.Sometimes // that somebody took an address for something else

	mu    sync.Mutex // guards the rest
	doors map[conf.Admin]net.Listener
	bound []conf.Admin // with the ports that the system chose
	serve func(net.Listener)
}

// Listen binds the addresses at once, so that an error ends the start. With no
// address it only records, for the next Change.
func Listen(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, doors: make(map[conf.Admin]net.Listener), said: rate.Sometimes{Interval: time.Minute}}
	s.recorder = newRecorder(cfg)
	var err error
	s.porter.refusal = s.refuse
	if s.porter.token, err = loadToken(cfg.StateDir); err != nil && cfg.StateDir != "" { // who has none knows
		cfg.Log.Warn().Err(err).Msg("admin: there is no place for the token, so status and the page are open by a Unix socket only")
	}
	s.server = &http.Server{
		Handler: s.handler(),
		// A peer that is slower than this is no browser and no scraper.
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime, // until guard: what is refused before waits for its body
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnContext:       withConn,
		ConnState:         follow,
		ErrorLog:          stdlog.New(debugWriter{cfg.Log}, "", 0),
	}
	if err := s.Change(cfg.Addrs); err != nil {
		return nil, err
	}
	return s, nil
}

// Change has the server at other addresses; what it serves at those that stay goes
// on. With an error nothing has changed.
func (s *Server) Change(addrs []conf.Admin) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := make(map[conf.Admin]net.Listener)
	for _, a := range addrs {
		if s.doors[a] != nil {
			continue
		}
		l, err := listen(a)
		if err != nil {
			for _, l := range fresh {
				l.Close()
			}
			return fmt.Errorf("admin: %w", err)
		}
		fresh[a] = limit(l, s.foreign)
	}
	doors := make(map[conf.Admin]net.Listener)
	s.bound = nil
	for _, a := range addrs {
		l := s.doors[a]
		delete(s.doors, a)
		if l == nil {
			l = fresh[a]
			if s.serve != nil {
				s.serve(l)
			}
		}
		doors[a] = l
		s.bound = append(s.bound, boundAs(a, l))
	}
	for _, l := range s.doors {
		l.Close()
	}
	s.doors = doors
	if err := announce(s.cfg.StateDir, s.cfg.Half, s.bound); err != nil {
		s.cfg.Log.Debug().Err(err).Msg("admin: the addresses cannot be written down; status needs --admin")
	}
	return nil
}

// listen binds one address.
func listen(a conf.Admin) (net.Listener, error) {
	// Plain TCP: Go's listeners would otherwise be kernel MPTCP sockets.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	if a.Path == "" {
		network := "tcp"
		if a.Addr.Addr().Is4() {
			network = "tcp4" // "tcp" would open 0.0.0.0 to all of IPv6 too
		}
		return lc.Listen(context.Background(), network, a.Addr.String())
	}
	// One that a crash left is in the way; a live one, or something else, stays.
	if info, err := os.Lstat(a.Path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if c, err := net.DialTimeout("unix", a.Path, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("%s: another program listens there", a.Path)
		}
		os.Remove(a.Path)
	}
	return listenOwn(&lc, a.Path)
}

func boundAs(a conf.Admin, l net.Listener) conf.Admin {
	if t, ok := l.Addr().(*net.TCPAddr); ok {
		a.Addr = netip.AddrPortFrom(a.Addr.Addr(), uint16(t.Port))
	}
	return a
}

// Addrs are the addresses that were bound.
func (s *Server) Addrs() []conf.Admin {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]conf.Admin(nil), s.bound...)
}

// headerTime is how long a request may take to say what it wants.
const headerTime = 5 * time.Second

// lastAnswers is how long a request that is under way at the end may take: whoever
// asked for the end still gets an answer.
const lastAnswers = 300 * time.Millisecond

// Close frees a Server that is not Run.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.doors {
		l.Close()
	}
	retract(s.cfg.StateDir, s.cfg.Half, s.bound)
}

// debugWriter writes what net/http has to say of somebody's requests as debug events: whoever
// reaches the port can make it say more.
type debugWriter struct{ log zerolog.Logger }

func (w debugWriter) Write(line []byte) (int, error) {
	w.log.Debug().Str("http", strings.TrimSpace(string(line))).Msg("admin: http connection")
	return len(line), nil
}

// Run serves until ctx ends. Requests that are under way are cut off after a moment.
func (s *Server) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { s.recorder.run(ctx) })
	s.mu.Lock()
	s.serve = func(l net.Listener) {
		group.Go(func() {
			err := s.server.Serve(l)
			if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				s.cfg.Log.Error().Err(err).Msg("admin ended at an address")
			}
		})
	}
	for _, l := range s.doors {
		s.serve(l)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.serve = nil
	s.mu.Unlock()
	s.Close()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer cancel()
	if s.server.Shutdown(last) != nil {
		s.server.Close()
	}
	return nil
}
