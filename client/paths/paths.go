package paths

import (
	"net/netip"
	"slices"

	"github.com/rs/zerolog"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

// pathOf is the tunnel's word for one path of the configuration.
func pathOf(p conf.Path) mux.Path {
	out := mux.Path{
		Name: p.Name, Subflows: int(p.Subflows), Backup: p.Backup, Metered: p.Metered, KernelMPTCP: p.KernelMPTCP,
		Weight: p.Weight, DailyCap: int64(p.DailyCap), MonthlyCap: int64(p.MonthlyCap), BillingDay: p.BillingDay,
	}
	if a, err := netip.ParseAddr(p.Bind); err == nil {
		out.Local = a.Unmap()
	} else {
		out.Interface = p.Bind
	}
	return out
}

// Of are the tunnel's words for paths of the configuration.
func Of(list []conf.Path) []mux.Path {
	out := make([]mux.Path, 0, len(list))
	for _, p := range list {
		out = append(out, pathOf(p))
	}
	return out
}

// Check warns of the paths that cannot be used now: interfaces and addresses
// may come later, whatever their names.
func Check(list []conf.Path, log zerolog.Logger) {
	for i, p := range Of(list) {
		twin := Twin(list, i)
		switch {
		case twin != "":
			log.Warn().Str("path", p.Name).Msgf("leads by the same way as path %s: the two die together, and add up to one", twin)
		case p.Local.IsValid() && !bindable(p.Local):
			log.Warn().Str("path", p.Name).Stringer("address", p.Local).Msg("no interface has this address yet; waiting for it")
		case p.Interface != "" && Find(p.Interface) == "":
			log.Warn().Str("path", p.Name).Str("interface", p.Interface).Str("there_are", interfaceNames()).Msg("no such interface yet; waiting for it")
		}
	}
}

// Twin returns the name of a path before list[i] that is bound to the same, as a copied line
// is, or "".
func Twin(list []conf.Path, i int) string {
	if at := slices.IndexFunc(list[:i], func(p conf.Path) bool { return p.Bind == list[i].Bind }); at >= 0 {
		return list[at].Name
	}
	return ""
}
