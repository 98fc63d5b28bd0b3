package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mpsocks/mpsocks/client/tun"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/mux/lull"
)

// lookPause is how often a device that may be gone around looks for the session, and how
// long one that broke is left alone.
const lookPause = time.Second

// complainEvery is how often it is said that the device cannot be made, or the routing, while it stays so.
const complainEvery = time.Minute

// A machine is the TUN device by which this machine's own programs reach the tunnel, with
// the routing that leads them there.
type machine struct {
	client  *Client
	changed chan struct{} // 1 slot: there is another device, or none

	mu      sync.Mutex // guards the rest
	cfg     conf.TUN
	device  *machineDevice // that is wanted; nil = none
	carried *machineDevice // that run came to last
	begun   bool           // by run
	said    string         // what was last complained of,
	saidAt  time.Time      // and when
}

// complain says what has gone wrong, which is tried again every second. The caller holds m.mu.
func (m *machine) complain(err error, text string) {
	if now := time.Now(); err.Error() != m.said || now.Sub(m.saidAt) >= complainEvery {
		m.said, m.saidAt = err.Error(), now
		m.client.log.Error().Err(err).Msg(text)
	}
}

// begin makes the device. Nothing is led to it before run.
func (m *machine) begin(cfg conf.TUN) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed = make(chan struct{}, 1)
	if cfg.Device == "" {
		return nil
	}
	d, err := openMachine(&cfg)
	if err != nil {
		return fmt.Errorf("tun: %w", err)
	}
	m.cfg, m.device = cfg, d
	return nil
}

// discard is for a client that never runs.
func (m *machine) discard() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.device != nil {
		m.device.close()
	}
}

// run serves the device that there is, and that of each later configuration, until ctx
// ends. All that was made for it is undone then. An error before that is one of the first
// device, to which nothing could be led.
func (m *machine) run(ctx context.Context) error {
	for first := true; ; first = false {
		d := m.next()
		var err error
		if d != nil {
			err = m.carry(ctx, d)
			if fails := err != nil && first && !d.led.Load(); fails || ctx.Err() != nil {
				if err != nil {
					err = fmt.Errorf("tun: %w", errors.Join(err, d.undo()))
				}
				return err
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil { // somebody has removed it, say: nothing goes around meanwhile
			if !d.failed {
				m.client.log.Error().Err(err).Msg("tun: the device is made anew")
			}
			lull.Pause(ctx, lookPause)
			m.renew(d)
		} else {
			select {
			case <-m.changed:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// next returns the device that run is to carry now, or nil.
func (m *machine) next() *machineDevice {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begun, m.carried = true, m.device
	return m.device
}

// renew makes a device in the place of one that broke; where it is not wanted any more its
// routing goes, which held the traffic until now.
func (m *machine) renew(broken *machineDevice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.device != broken {
		m.undo(broken)
		return
	}
	d, err := openMachine(&m.cfg)
	if err != nil {
		m.complain(err, "tun: the device cannot be made")
		broken.failed = true // it is tried again
		return
	}
	m.device = d
}

// undo takes the routing of a device back that is not carried. The caller holds m.mu.
func (m *machine) undo(d *machineDevice) {
	if err := d.undo(); err != nil {
		m.complain(err, "tun: routing")
	}
}

// carry serves one device until it is not wanted any more (nil) or ctx ends (nil), and
// undoes its routing. If the device breaks its routing stays.
func (m *machine) carry(ctx context.Context, d *machineDevice) (err error) {
	if d.failed { // and was given up when it broke
		return errors.New("it is not there")
	}
	defer close(d.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.life, cancel)()
	defer d.close()
	var leading sync.WaitGroup
	defer func() {
		cancel()
		leading.Wait()
		if err == nil {
			err = d.undo()
		}
	}()
	faults := make(chan error, 1)
	err = d.serve(ctx, m.client, func(device *tun.Device) {
		m.mu.Lock()
		d.device = device
		m.mu.Unlock()
		leading.Go(func() {
			if err := m.lead(ctx, d); err != nil {
				faults <- err
				cancel()
			}
		})
	})
	select {
	case fault := <-faults:
		return fault
	default:
		return err
	}
}

// lead has the routing be as the configuration says until ctx ends. It returns an error
// if that fails at once.
func (m *machine) lead(ctx context.Context, d *machineDevice) error {
	t := time.NewTicker(lookPause)
	defer t.Stop()
	for first := true; ; first = false {
		m.mu.Lock()
		routes := m.cfg.Routes
		err := m.apply(d, m.cfg)
		if err != nil && !first {
			m.complain(err, "tun: routing")
		}
		m.mu.Unlock()
		switch {
		case err != nil && first:
			return err
		case first && err == nil:
			d.led.Store(true)
			if needsMark {
				m.client.log.Info().Str("device", d.name).Stringers("routes", stringers(routes)).Msg("this machine's traffic is led into the tunnel")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// apply has the routing be as a configuration says, if it is not; m.mu is held.
func (m *machine) apply(d *machineDevice, cfg conf.TUN) error {
	around := cfg.WhenDown == conf.WhenDownAround && !m.up()
	return d.route(m.client, cfg, around)
}

// set takes over another configuration. An error leaves the one before.
func (m *machine) set(cfg conf.TUN) error {
	m.mu.Lock()
	old, d := m.cfg, m.device
	if !m.begun || cfg.Device != "" && needsMark && m.client.mark == 0 {
		m.mu.Unlock()
		if cfg.Device != "" && m.client.mark == 0 {
			return errors.New("tun: the subflows have no mark to know them by, which they get at the start: restart the client")
		}
		return nil
	}
	if cfg.Device != "" && d != nil && d.called(cfg.Device) {
		defer m.mu.Unlock()
		m.cfg = cfg
		if d.device == nil { // it is not led to yet
			return nil
		}
		if err := m.apply(d, cfg); err != nil {
			m.cfg = old
			if back := m.apply(d, old); back != nil {
				m.client.log.Error().Err(back).Msg("tun: routing")
			}
			return fmt.Errorf("tun: %w", err)
		}
		return nil
	}
	var next *machineDevice
	if cfg.Device != "" {
		var err error
		if next, err = openMachine(&cfg); err != nil {
			m.mu.Unlock()
			return fmt.Errorf("tun: %w", err)
		}
	}
	m.cfg, m.device = cfg, next
	ends := d != nil && d == m.carried
	if d != nil && !ends { // run has not come to it, and will not
		d.close()
		m.undo(d) // of one that broke, which it was made in the place of
	}
	m.mu.Unlock()
	if ends {
		d.end()
		<-d.done
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
	return nil
}

// up says whether some path of the tunnel works.
func (m *machine) up() bool {
	return m.client.mux == nil || slices.ContainsFunc(m.client.mux.Reports(), func(r mux.PathReport) bool {
		return r.Moving > 0 && !r.Dark && r.Until.IsZero()
	})
}

func stringers(list []netip.Prefix) []fmt.Stringer {
	out := make([]fmt.Stringer, len(list))
	for i, p := range list {
		out[i] = p
	}
	return out
}

// captured says which name servers' questions the tunnel's resolver answers, for whoever has
// all of a machine led there.
func captured(cfg *conf.TUN) func(netip.Addr) bool {
	if cfg.DNS && cfg.Everything() {
		return tun.AllNames
	}
	return nil
}
