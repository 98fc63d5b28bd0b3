package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// An end is either half: *client.Client or *server.Server. All its sockets are
// bound when it is made.
type end interface {
	Run(ctx context.Context) error
	Addrs() []netip.AddrPort
	Status() *status.Status
}

// A half is a running end with the configuration that it goes by, which a reload
// replaces.
type half struct {
	end  end
	file string
	log  zerolog.Logger
	// renew reads the file anew and says what is different and how it is applied.
	renew func() (renewal, error)
	// drain waits until nothing is under way; nil for a half that has none.
	drain func(ctx context.Context)

	stop context.CancelFunc // as a signal would

	admin admin.Config // but for what rest and the half itself have

	doubts atomic.Pointer[[]string] // those of rest, for status: a reload may take its time

	mu     sync.Mutex // guards the rest, and is held while a reload goes on
	rest   rest
	served *admin.Server
}

// rest is what the command line itself takes from a configuration.
type rest struct {
	admin []conf.Admin
	level string
	drain time.Duration
	// doubts are what is valid and may not be meant: for the log, and for status.
	doubts []string
}

// A renewal is a configuration that was read anew.
type renewal struct {
	changes []conf.Change
	rest    rest
	apply   func() error
	done    func() // called when it was applied
}

// reload reads the configuration anew and applies it: all or nothing. It returns what
// has changed, a line each. It says the same in the log.
func (h *half) reload() ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines, err := h.tryReload()
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			h.log.Error().Str("why", line).Msg("reload: nothing has changed")
		}
		return nil, err
	}
	if len(lines) == 0 {
		h.log.Info().Str("file", h.file).Msg("reload: the configuration is the same")
	}
	for _, line := range lines {
		h.log.Info().Msg("reload: " + line)
	}
	for _, line := range h.rest.doubts {
		h.log.Warn().Str("why", line).Msg("reload: not all of it holds")
	}
	return append(lines, h.rest.doubts...), nil
}

// tryReload is reload without a word; h.mu is held.
func (h *half) tryReload() (lines []string, err error) {
	next, err := h.renew()
	if err != nil {
		return nil, err
	}
	moved := !slices.Equal(next.rest.admin, h.rest.admin)
	if moved {
		if err := h.served.Change(next.rest.admin); err != nil {
			return nil, err
		}
	}
	if err := next.apply(); err != nil {
		if moved {
			err = errors.Join(err, h.served.Change(h.rest.admin))
		}
		return nil, err
	}
	if moved {
		h.sayAdmin()
	}
	setLevel(next.rest.level)
	h.rest = next.rest
	h.doubts.Store(&next.rest.doubts)
	next.done()
	for _, c := range next.changes {
		lines = append(lines, c.String())
	}
	return lines, nil
}

// openAdmin binds the admin addresses, if there are any; the caller holds h.mu.
func (h *half) openAdmin() error {
	file, err := filepath.Abs(h.file)
	if err != nil {
		return err
	}
	cfg := h.admin
	h.doubts.Store(&h.rest.doubts)
	cfg.Addrs, cfg.Log, cfg.Version = h.rest.admin, h.log, version()
	cfg.Status = func() *status.Status {
		s := h.end.Status()
		s.Config, s.Warnings = file, slices.Clone(*h.doubts.Load())
		s.LogLevel = zerolog.Level(wantedLevel.Load()).String()
		return s
	}
	cfg.Controls.Reload = h.reload
	if h.drain != nil {
		cfg.Controls.Drain = h.drainNow
	}
	cfg.Controls.LogLevel = func(level string) error {
		if _, err := zerolog.ParseLevel(level); err != nil || level == "" {
			return fmt.Errorf("%q is no level", level)
		}
		setLevel(level)
		h.log.Info().Str("level", level).Msg("the log level was changed by hand")
		return nil
	}
	h.served, err = admin.Listen(cfg)
	return err
}

// sayAdmin logs where the page is; the caller holds h.mu.
func (h *half) sayAdmin() {
	for _, a := range h.served.Addrs() {
		h.log.Info().Str("address", a.String()).Msg("admin: the page, status, metrics and health (mpsocks status --web prints the link)")
	}
}

// drainNow ends the half as a signal does, with a drain even if the configuration has
// none.
func (h *half) drainNow() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rest.drain == 0 {
		h.rest.drain = defaultDrain
	}
	h.stop()
	return nil
}

// defaultDrain is for `mpsocks drain` where the configuration says nothing.
const defaultDrain = 30 * time.Second

// hear reloads at each SIGHUP until ctx ends.
func (h *half) hear(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			h.tellManager(managerReloading)
			_, _ = h.reload() // it is in the log
			h.tellManager(managerReady)
		}
	}
}

// run serves until ctx ends, or until the end or the admin address fails.
func (h *half) run(ctx context.Context) error {
	// A half outlives its terminal, and whoever read its log: a log line that
	// nobody can read must not end it. SIGHUP reloads.
	signal.Ignore(syscall.SIGPIPE)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	ctx, h.stop = context.WithCancel(ctx)
	defer h.stop()
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	serving, quit := context.WithCancel(context.WithoutCancel(ctx))
	defer quit()
	err := h.serveAdmin(serving, &wg, failed)
	if err != nil {
		end() // Run frees what New took
		return errors.Join(err, h.end.Run(running))
	}
	wg.Go(func() { h.hear(ctx, hup) })
	wg.Go(func() { h.watchdog(running) })
	wg.Go(func() { h.tidy(running) })
	done := make(chan error, 1)
	go func() { done <- h.end.Run(running) }()
	h.tellManager(managerReady)

	select {
	case err = <-done:
	case err = <-failed:
	case <-ctx.Done():
		h.tellManager(managerStopping)
		h.drained(ctx, done)
	}
	h.stop()
	end()
	quit()
	return settle(err, done, &wg)
}

// serveAdmin opens the admin address and serves it until ctx ends; failed has why it ended
// before.
func (h *half) serveAdmin(ctx context.Context, wg *sync.WaitGroup, failed chan<- error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.openAdmin(); err != nil {
		return err
	}
	served := h.served
	wg.Go(func() {
		if err := served.Run(ctx); err != nil {
			failed <- err
		}
	})
	h.sayAdmin()
	return nil
}

// settle waits for the end, whose error done has unless it is why all ends, and for the rest,
// shutdownLimit at most.
func settle(why error, done <-chan error, rest *sync.WaitGroup) error {
	limit := time.After(shutdownLimit)
	if why == nil {
		select {
		case why = <-done:
		case <-limit:
			return fmt.Errorf("the shutdown took over %v and was cut short", shutdownLimit)
		}
	}
	over := make(chan struct{})
	go func() { rest.Wait(); close(over) }()
	select {
	case <-over:
	case <-limit:
	}
	if errors.Is(why, context.Canceled) {
		return nil // that is how a signal ends it
	}
	return why
}

// drained waits until what is under way has ended, if the configuration wants that, or
// until the end has ended by itself, whose error it puts back.
func (h *half) drained(ctx context.Context, done chan error) {
	h.mu.Lock()
	limit := h.rest.drain
	h.mu.Unlock()
	if h.drain == nil || limit <= 0 {
		return
	}
	h.tellManager(managerPatience(limit + shutdownLimit))
	h.log.Info().Stringer("limit", limit).Msg("draining: nothing new is taken, and what is under way may end")
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	ended := make(chan struct{})
	go func() { h.drain(draining); close(ended) }()
	select {
	case <-ended:
	case err := <-done:
		done <- err
		cancel()
		<-ended
	}
}
