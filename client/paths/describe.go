package paths

import (
	"slices"
	"time"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/status"
)

// Describe puts what the client knows of its paths into what the session says of
// them, with those that cannot be used now, and returns the server's address in use. carried
// says what the paths of a name have carried, as [mux.Client.Carried] does.
func (w *Watch) Describe(reports []mux.PathReport, seen []status.Path, carried func(name string, billingDay int) (today, month uint64, renews time.Time)) (server string, out []status.Path) {
	w.look(reports, time.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	configured := w.paths
	if len(configured) == 0 {
		for _, r := range reports {
			configured = append(configured, confPath(r))
		}
	}
	for _, cfg := range configured {
		p := status.Path{Name: cfg.Name}
		if i := slices.IndexFunc(seen, func(s status.Path) bool { return s.Name == cfg.Name }); i >= 0 {
			p = seen[i]
		}
		p.Bind, p.Backup, p.Metered = cfg.Bind, cfg.Backup, cfg.Metered
		p.Usage = &status.Usage{DailyCap: uint64(cfg.DailyCap), MonthlyCap: uint64(cfg.MonthlyCap), BillingDay: cfg.BillingDay}
		p.Usage.Today, p.Usage.Month, p.Usage.Renews = carried(cfg.Name, cfg.BillingDay)
		if i := slices.IndexFunc(reports, func(r mux.PathReport) bool { return r.Path.Name == cfg.Name }); i >= 0 {
			r := reports[i]
			p.Backup, p.Metered = r.Path.Backup, r.Path.Metered
			p.Usage.Until = r.Until
			if server == "" && r.Remote.IsValid() {
				server = r.Remote.String()
			}
		}
		if k := w.known[cfg.Name]; k != nil {
			p.State, p.Cause, p.Remedy, p.Since = k.state, k.cause, k.remedy, k.since
		}
		p.Paused = p.State == status.Paused
		out = append(out, p)
	}
	return server, out
}
