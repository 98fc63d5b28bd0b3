package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/durable"
	"github.com/mpsocks/mpsocks/status"
)

// Where the halves' admin addresses are as init writes them.
var defaultAdmins = map[string]netip.AddrPort{
	status.Client: netip.MustParseAddrPort("127.0.0.1:9081"),
	status.Server: netip.MustParseAddrPort("127.0.0.1:9082"),
}

// locator finds the running halves of this machine, with the token to ask them: where
// the flags say, or where the halves have written it down.
type locator struct {
	address, file string
}

func (l *locator) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.address, "admin", "", "the half's admin address, HOST:PORT or unix:/PATH; it is found by itself otherwise")
	cmd.Flags().StringVarP(&l.file, "config", "c", "", "take the admin address and the token from this configuration file")
}

// find returns clients for the given halves, those that were written down first. There
// is one at least, unless there is an error.
func (l *locator) find(halves ...string) ([]*admin.Client, error) {
	if l.address != "" && l.file != "" {
		return nil, errors.New("--admin and --config are two ways to say the same: leave one of them out")
	}
	dirs := stateDirs()
	var addrs, before []conf.Admin
	config := ""
	switch {
	case l.file != "":
		cfg, err := conf.Load(l.file)
		if err != nil {
			return nil, err
		}
		dir, half := "", status.Client
		switch c := cfg.(type) {
		case *conf.Client:
			addrs, dir = c.Admin, c.StateDir
		case *conf.Server:
			addrs, dir, half = c.Admin, c.StateDir, status.Server
		}
		if len(addrs) == 0 {
			return nil, fmt.Errorf("%s has no admin address: give it one", l.file)
		}
		if dir != "" {
			dirs = []string{dir}
		}
		// Where the half is that does not know of another address in the file yet.
		if config, err = filepath.Abs(l.file); err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			before = append(before, admin.Announced(dir, half)...)
		}
	case l.address != "":
		var a conf.Admin
		address := l.address
		if link, ok := strings.CutPrefix(address, "http://"); ok { // as `mpsocks status --web` prints it
			address, _, _ = strings.Cut(link, "/")
		}
		if err := a.UnmarshalText([]byte(address)); err != nil {
			return nil, fmt.Errorf("--admin: %w", err)
		}
		addrs = []conf.Admin{a}
	default:
		for _, half := range halves {
			for _, dir := range dirs {
				addrs = append(addrs, admin.Announced(dir, half)...)
			}
			addrs = append(addrs, conf.Admin{Addr: defaultAdmins[half]})
		}
	}
	var out []*admin.Client
	for i, a := range addrs {
		if !slices.Contains(addrs[:i], a) {
			c := admin.NewClient(a, tokenIn(dirs))
			c.Mapped = l.address != ""
			out = append(out, c)
		}
	}
	for i, a := range before {
		if !slices.Contains(addrs, a) && !slices.Contains(before[:i], a) {
			c := admin.NewClient(a, tokenIn(dirs))
			c.Config = config
			out = append(out, c)
		}
	}
	return out, nil
}

// stateDirs are where a half of this machine may keep its token.
func stateDirs() []string {
	var out []string
	if dir, err := conf.DefaultStateDir(); err == nil {
		out = append(out, dir)
	}
	if os.PathSeparator == '/' {
		for _, dir := range []string{"/var/lib/mpsocks", "/var/lib/mpsocks-client", "/var/lib/mpsocks-server"} {
			if !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
	}
	return out
}

// tokenIn is the first token that can be read.
func tokenIn(dirs []string) string {
	for _, dir := range dirs {
		if token, err := admin.ReadToken(dir); err == nil {
			return token
		}
	}
	return ""
}

// answering returns those that answer, each half once, and the first one's error if none
// does.
func answering(ctx context.Context, all []*admin.Client) (clients []*admin.Client, states []*status.Status, err error) {
	var first error
	for _, c := range all {
		s, err := c.Status(ctx)
		if err != nil {
			if first == nil || errors.Is(err, admin.ErrToken) || errors.Is(err, admin.ErrProof) {
				first = err
			}
			continue
		}
		if slices.ContainsFunc(states, func(o *status.Status) bool { return o.Half == s.Half && o.Started.Equal(s.Started) }) {
			continue // by another of its addresses
		}
		clients, states = append(clients, c), append(states, s)
	}
	if len(clients) == 0 {
		return nil, nil, first
	}
	return clients, states, nil
}

// keepState fills in the state directory of a configuration, and makes it. What cannot be
// had, or what others could change, is said, and missed.
func keepState(dir *string, log zerolog.Logger) {
	var err error
	if *dir == "" {
		*dir, err = conf.DefaultStateDir()
	}
	if err == nil {
		err = durable.Home(*dir)
	}
	if err != nil {
		*dir = ""
		log.Warn().Err(err).Msg("there is no state_dir: what has to survive a restart does not, and status and the page are open by a Unix socket only; set state_dir to a directory that this user may write to, and no other but root")
	}
}
