package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/durable"
	"github.com/mpsocks/mpsocks/status"
)

// newClients is `mpsocks clients`: who may use a server, on the server's machine. It
// writes to the server's clients_dir only, never to the file that a person wrote.
func newClients() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "Add, list and revoke the clients of a server, on the server's machine",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVarP(&file, "config", "c", "", "the server's configuration file; without it server.yaml in "+systemDir+", or here")
	open := func() (*roll, error) { return openRoll(file) }
	cmd.AddCommand(newClientsAdd(open), newClientsList(open), newClientsRevoke(open), newClientsRotate(open))
	return cmd
}

// systemDir is where a package has the configuration.
const systemDir = "/etc/mpsocks"

// A roll is the list of a server's clients.
type roll struct {
	file   string
	dir    string
	server *conf.Server
}

// openRoll loads the server's file.
func openRoll(file string) (*roll, error) {
	if file == "" {
		// The one that the service reads comes first: a copy of it is mostly still here.
		file = filepath.Join(systemDir, "server.yaml")
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			file = "server.yaml"
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("there is no server.yaml in %s, nor here: this is done on the server's machine, and -c names another file", systemDir)
			}
		}
	}
	s, err := conf.LoadServer(file)
	if err != nil {
		return nil, err
	}
	r := &roll{file: file, server: s, dir: s.ClientsPath(file)}
	if r.dir == "" {
		return nil, fmt.Errorf("%s: clients_dir is empty: give it a directory, such as clients.d", file)
	}
	return r, nil
}

// find returns the client of that name, or nil.
func (r *roll) find(name string) *conf.Peer {
	i := slices.IndexFunc(r.server.Clients, func(p conf.Peer) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &r.server.Clients[i]
}

// faults are the files with mistakes that are for that client.
func (r *roll) faults(name string) (out []conf.Fault) {
	for _, f := range r.server.Faults() {
		if f.Name() == name {
			out = append(out, f)
		}
	}
	return out
}

// own is a client of the directory, which a program may change.
func (r *roll) own(name string) (*conf.Peer, error) {
	p := r.find(name)
	faults := r.faults(name)
	switch {
	case p == nil && len(faults) > 0:
		return nil, fmt.Errorf("%s: mend the file, or `mpsocks clients revoke %s` takes it away", strings.Join(faults[0].Lines(), "; "), name)
	case p == nil:
		return nil, fmt.Errorf("there is no client %q; `mpsocks clients list` shows them", name)
	case p.File() == "":
		return nil, fmt.Errorf("%s is in %s itself: change it there, then run mpsocks reload", name, r.file)
	case filepath.Ext(p.File()) != ".yaml":
		return nil, fmt.Errorf("%s is in %s, which was not written by this program: change it there, then run mpsocks reload", name, p.File())
	}
	return p, nil
}

// put writes a client's file; undo has all as before.
func (r *roll) put(p *conf.Peer) (undo func() error, err error) {
	path := p.File()
	if path == "" {
		if path, err = conf.PeerFile(r.dir, p.Name); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return nil, err
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	undo = func() error { return os.Remove(path) }
	if err == nil {
		undo = func() error { return replace(path, old) }
	}
	return undo, replace(path, p.Text())
}

// replace writes a file of the directory of clients. There are no secrets in it, and the
// service reads it.
func replace(path string, text []byte) error { return durable.Replace(path, text, 0o644) }

// tell has a running server read the directory, and says whether it did.
func (r *roll) tell(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	if len(r.server.Admin) == 0 {
		_, err := fmt.Fprintf(out, "%s has no admin address: send SIGHUP to the server, or restart it\n", r.file)
		return err
	}
	changes, err := controlFirst(cmd.Context(), &locator{file: r.file}, "/reload", status.Server)
	if err != nil {
		_, err = fmt.Fprintf(out, "no running server has heard of it yet: %v\n", err)
		return err
	}
	if len(changes) == 0 {
		_, err = fmt.Fprintf(out, "the running server finds nothing new: it goes by another file than %s, which -c names\n", r.file)
		return err
	}
	for _, line := range changes {
		fmt.Fprintf(out, "the running server says: %s\n", line)
	}
	return nil
}

func newClientsAdd(open func() (*roll, error)) *cobra.Command {
	var h handover
	var public string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a client: write its ready file, and have a running server know it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := open()
			if err != nil {
				return err
			}
			name := args[0]
			if _, err := conf.PeerFile(r.dir, name); err != nil {
				return err
			}
			if p := r.find(name); p != nil {
				return fmt.Errorf("there is a client %q already; `mpsocks clients rotate %s` gives it another key", name, name)
			}
			if faults := r.faults(name); len(faults) > 0 {
				return fmt.Errorf("there is a file for %q already: %s", name, strings.Join(faults[0].Lines(), "; "))
			}
			peer := &conf.Peer{Name: name}
			put := func() (func() error, error) { return r.put(peer) }
			if public != "" {
				if peer.PublicKey, err = conf.ParsePublic(public); err != nil {
					return fmt.Errorf("--public-key %w", err)
				}
				_, err = put()
			} else {
				key, failed := conf.Generate()
				if failed != nil {
					return failed
				}
				peer.PublicKey = key.Public()
				err = h.give(cmd.OutOrStdout(), r, name, key, put)
			}
			if err != nil {
				return err
			}
			return r.tell(cmd)
		},
	}
	h.flags(cmd)
	cmd.Flags().StringVar(&public, "public-key", "", "the public key of a client that has its file already; nothing is written for it")
	h.without(cmd, "public-key")
	return cmd
}

func newClientsRevoke(open func() (*roll, error)) *cobra.Command {
	return &cobra.Command{
		Use:               "revoke NAME",
		Short:             "Take a client out: a running server ends its sessions at once",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: clientNames(open),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := open()
			if err != nil {
				return err
			}
			return r.revoke(cmd, args[0])
		},
	}
}

// revoke removes what lets a client in: its file, copies of it and those with mistakes.
func (r *roll) revoke(cmd *cobra.Command, name string) error {
	var files []string
	var keys []conf.PublicKey
	for _, f := range r.faults(name) {
		files, keys = append(files, f.File), append(keys, f.Peer.Keys()...)
	}
	p, err := r.own(name)
	switch {
	case p != nil:
		files, keys = append(files, p.File()), append(keys, p.Keys()...)
	case len(files) == 0:
		return err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", file)
	}
	if err := r.tell(cmd); err != nil {
		return err
	}
	// What was left out for having the same key counts from now on.
	next, err := conf.LoadServer(r.file)
	if err != nil {
		return err
	}
	for _, other := range next.Clients {
		for _, k := range other.Keys() {
			if slices.ContainsFunc(keys, func(was conf.PublicKey) bool { return bytes.Equal(was, k) }) {
				return fmt.Errorf("the key of %s is that of %s too and so may still connect: `mpsocks clients revoke %s`", name, other.Name, other.Name)
			}
		}
	}
	return nil
}

func newClientsRotate(open func() (*roll, error)) *cobra.Command {
	var h handover
	var finish bool
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give a client another key; the old one holds until --finish",
		Long: `Give a client another key and write its file anew. The server takes the old key as
well until "mpsocks clients rotate NAME --finish", so that the client can be changed
when there is time.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: clientNames(open),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := open()
			if err != nil {
				return err
			}
			p, err := r.own(args[0])
			if err != nil {
				return err
			}
			keys := p.Keys()
			put := func() (func() error, error) {
				p.PublicKey, p.PublicKeys = nil, keys
				return r.put(p)
			}
			if finish {
				keys = keys[:1]
				_, err = put()
			} else {
				key, failed := conf.Generate()
				if failed != nil {
					return failed
				}
				keys = append([]conf.PublicKey{key.Public()}, keys...)
				err = h.give(cmd.OutOrStdout(), r, p.Name, key, put)
			}
			if err != nil {
				return err
			}
			return r.tell(cmd)
		},
	}
	h.flags(cmd)
	cmd.Flags().BoolVar(&finish, "finish", false, "drop all keys but the newest one")
	h.without(cmd, "finish")
	return cmd
}

// addrText is "" for the zero address, as the file writes "off".
func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
