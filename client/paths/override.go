package paths

import (
	"fmt"
	"slices"

	"github.com/mpsocks/mpsocks/conf"
)

// Pause takes a path out of use by hand, or back into it. The last one stays.
func (w *Watch) Pause(name string, paused bool) error {
	return w.override(name, func(o *override) { o.paused = paused })
}

// SetBackup makes a path a backup by hand, or not.
func (w *Watch) SetBackup(name string, backup bool) error {
	return w.override(name, func(o *override) { o.backup = &backup })
}

// SetMetered makes a path a metered one by hand, or not.
func (w *Watch) SetMetered(name string, metered bool) error {
	return w.override(name, func(o *override) { o.metered = &metered })
}

// override replaces what the configuration says of a path.
type override struct {
	paused  bool
	backup  *bool
	metered *bool
}

// override changes what holds of a path whatever the configuration says.
func (w *Watch) override(name string, change func(*override)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	paths := w.paths
	if !slices.ContainsFunc(paths, func(p conf.Path) bool { return p.Name == name }) {
		return fmt.Errorf("the configuration has no path %q", name)
	}
	o := w.overrides[name]
	change(&o)
	left := 0
	for _, p := range paths {
		if p.Name != name && !w.overrides[p.Name].paused {
			left++
		}
	}
	if o.paused && left == 0 {
		return fmt.Errorf("%s is the only path in use", name)
	}
	if w.overrides == nil {
		w.overrides = make(map[string]override)
	}
	w.overrides[name] = o
	w.log.Info().Str("path", name).Bool("paused", o.paused).Msg("a path was changed by hand")
	poke(w.changed)
	return nil
}
