package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/status"
)

// severity is how a check came out; the worst one is the exit code.
type severity int

// The severities.
const (
	fine   severity = iota // 0
	doubt                  // 1: it works, and may not always
	broken                 // 2
)

// MarshalText is for --json.
func (s severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s severity) String() string { return [...]string{"ok", "warning", "failed"}[s] }

// finding is the outcome of one check.
type finding struct {
	Check    string   `json:"check"`
	Severity severity `json:"severity"`
	Text     string   `json:"text"`
	Remedy   string   `json:"remedy,omitempty"` // what to do
}

// doctor looks for what is wrong, and says each thing as soon as it knows it.
type doctor struct {
	ctx  context.Context
	out  io.Writer // nil with --json
	all  []finding
	file string

	stun    []string     // who is asked for the exit's NAT; none: nobody is
	natSeen bool         // it is known
	beside  *conf.Client // what was found with a server's file, nil = none
	bursts  bool         // the paths' rates are tried
}

// newDoctor is `mpsocks doctor`.
func newDoctor() *cobra.Command {
	var file string
	var asJSON, bursts bool
	stun := publicSTUN
	cmd := &cobra.Command{
		Use:   "doctor [-c FILE]",
		Short: "Find what is wrong, and say what to do about it",
		Long: `Find what is wrong, and say what to do about it: the configuration, keys, the clock,
descriptors, each path by itself (interface, name, route, TCP, handshake with the
server, a datagram there and back, a name asked for at the exit, the NAT that programs
are behind there), and what the running halves of this machine say. Without -c,
client.yaml and server.yaml are looked for here and in /etc/mpsocks; the server's is
checked where the server is.

Each path is tried with a session of its own, beside the one that may be running. The
exit code is 0 if all is well, 1 if something may go wrong, and 2 if something is broken.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			d := &doctor{ctx: ctx, out: cmd.OutOrStdout(), file: file, bursts: bursts, stun: slices.DeleteFunc(slices.Clone(stun), func(s string) bool { return s == "none" })}
			if asJSON {
				d.out = nil
			}
			d.examine()
			worst := fine
			for _, f := range d.all {
				worst = max(worst, f.Severity)
			}
			if asJSON {
				body, err := json.MarshalIndent(struct {
					Severity severity  `json:"severity"`
					Findings []finding `json:"findings"`
				}{worst, d.all}, "", "  ")
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), string(body))
			} else {
				fmt.Fprintln(d.out, [...]string{"all is well", "it works, with warnings", "something is broken: see above"}[worst])
			}
			if worst == fine {
				return nil
			}
			return exitError{code: int(worst)}
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file of a client or a server")
	cmd.Flags().BoolVar(&bursts, "burst", false, "try each path's rate for two seconds, metered ones too")
	cmd.Flags().StringSliceVar(&stun, "stun", publicSTUN, "STUN servers to ask for the exit's NAT, HOST:PORT, or none")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// say notes and prints a finding.
func (d *doctor) say(s severity, check, remedy, format string, args ...any) {
	f := finding{check, s, status.Plain(fmt.Sprintf(format, args...)), remedy}
	if s == fine {
		f.Remedy = ""
	}
	d.all = append(d.all, f)
	if d.out == nil {
		return
	}
	fmt.Fprintf(d.out, "%-8s %s: %s\n", f.Severity, f.Check, f.Text)
	if f.Remedy != "" {
		fmt.Fprintf(d.out, "         %s\n", f.Remedy)
	}
}

// examine does all the checks.
func (d *doctor) examine() {
	d.machine()
	files := []string{d.file}
	if d.file == "" {
		files = nil
		for _, f := range []string{"client.yaml", "server.yaml", "/etc/mpsocks/client.yaml", "/etc/mpsocks/server.yaml"} {
			if _, err := os.Stat(f); err == nil {
				files = append(files, f)
			}
		}
		if len(files) == 0 {
			d.say(doubt, "configuration", "name it with -c FILE, or write one with `mpsocks init --server HOST:PORT`", "there is none here or in /etc/mpsocks")
		}
	}
	for _, file := range files {
		cfg, err := conf.Load(file)
		if err != nil {
			if _, gone := os.Stat(file); errors.Is(gone, fs.ErrNotExist) {
				d.say(broken, "configuration", "name another file with -c, or `mpsocks init --server HOST:PORT` writes new files", "%s is not there", file)
				continue
			}
			d.say(broken, "configuration", "mend the file; `mpsocks check -c "+file+"` lists the same", "%v", advise(err))
			continue
		}
		d.say(fine, "configuration", "", "%s is valid", file)
		switch c := cfg.(type) {
		case *conf.Client:
			d.beside = c
			d.client(c)
		case *conf.Server:
			if d.elsewhere(c) {
				d.say(fine, "server", "", "%s is for the machine of %s and is not checked here: `mpsocks doctor -c %s` does that there", file, strings.Join(d.beside.Server.Addresses, ", "), file)
				continue
			}
			d.server(c)
		}
	}
	d.running()
}
