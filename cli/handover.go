package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
)

// handover is how the client gets what it needs.
type handover struct {
	server   []string // host:port
	out      string
	link, qr bool
	force    bool
}

func (h *handover) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&h.server, "server", nil, "`HOST:PORT` at which the client reaches the server; without it the server's file says it (reach)")
	cmd.Flags().StringVar(&h.out, "out", "", "the client's file; without it NAME-client.yaml here")
	cmd.Flags().BoolVar(&h.link, "link", false, "print a link, which mpsocks init --link reads, in place of writing a file; it has the private key")
	cmd.Flags().BoolVar(&h.qr, "qr", false, "print that link as a QR code")
	cmd.Flags().BoolVar(&h.force, "force", false, "replace the client's file if it is there")
	for _, shown := range []string{"link", "qr"} { // in place of a file
		cmd.MarkFlagsMutuallyExclusive(shown, "out")
	}
}

// without says which flag leaves the client to itself, so that nothing is handed over.
func (h *handover) without(cmd *cobra.Command, flag string) {
	for _, own := range []string{"server", "out", "link", "qr"} {
		cmd.MarkFlagsMutuallyExclusive(flag, own)
	}
}

// addresses finds out where the client reaches the server.
func (h *handover) addresses(r *roll) ([]string, error) {
	s := r.server
	for _, a := range h.server {
		if !isHostPort(a) {
			return nil, notServer(a)
		}
	}
	switch {
	case len(h.server) > 0:
		return h.server, nil
	case len(s.Reach) > 0:
		return s.Reach, nil
	case len(s.Advertise) > 0:
		return texts(s.Advertise), nil
	}
	var out []string
	for _, l := range s.Listen {
		if !l.Address.Addr().IsUnspecified() && !l.Address.Addr().IsLoopback() {
			out = append(out, l.Address.String())
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("where do clients reach this server? say --server HOST:PORT, or give %s reach: [\"HOST:PORT\"]", r.file)
	}
	return out, nil
}

// give hands a client's key over, after put has given it to the server; when the client
// does not get it, it is taken back there.
func (h *handover) give(out io.Writer, r *roll, name string, key conf.PrivateKey, put func() (undo func() error, err error)) error {
	addresses, err := h.addresses(r)
	if err != nil {
		return err
	}
	l := &conf.Link{Name: name, Key: key, Addresses: addresses, Servers: []conf.PublicKey{r.server.PrivateKey.Public()}, Cover: r.server.Cover.Told()}
	if _, err := conf.ParseLink(l.Text()); err != nil {
		return err // an address that cannot be one
	}
	undo, err := put()
	if err != nil {
		return err
	}
	if h.link || h.qr {
		if err := h.show(out, l); err != nil {
			return errors.Join(err, undo())
		}
		return nil
	}
	p := defaultPair()
	p.link(l)
	file := h.out
	if file == "" {
		file = name + "-client.yaml"
	}
	if err := p.writeClient(file, h.force); err != nil {
		return errors.Join(err, undo())
	}
	_, err = fmt.Fprintf(out, "wrote %s: move it to the other machine as client.yaml\n", file)
	return err
}

// show writes the link, as a code, as text, or as both.
func (h *handover) show(out io.Writer, l *conf.Link) error {
	if h.qr {
		if err := writeQR(out, l.Text()); err != nil {
			return err
		}
		width, height := screenSize(out)
		if w, h := sizeQR(l.Text()); isTerminal(out) && (w > width || h >= height) {
			fmt.Fprintf(out, "The code has %d columns and %d lines, and this terminal %d and %d: make it larger or its letters smaller,\n"+
				"and run `mpsocks clients rotate %s --qr`.\n", w, h+1, width, height, l.Name)
		}
	}
	if !h.link {
		return nil
	}
	_, err := fmt.Fprintln(out, l.Text())
	return err
}
