package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// listed is a client, or a file with a mistake, as `clients list --json` has it.
type listed struct {
	Name    string   `json:"name"`
	Keys    []string `json:"public_keys"` // the newest first
	File    string   `json:"file"`
	Quota   uint64   `json:"quota_bytes,omitempty"` // a month
	Rate    string   `json:"rate,omitempty"`
	Streams int      `json:"streams,omitempty"`
	Publish []string `json:"publish,omitempty"`
	// Problems are the mistakes of the file: the client is left out, unless a running
	// server knows what the file said before.
	Problems []string `json:"problems,omitempty"`
}

func newClientsList(open func() (*roll, error)) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the clients of a server with their keys",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := open()
			if err != nil {
				return err
			}
			all := r.list()
			if !asJSON {
				return writeList(cmd.OutOrStdout(), all)
			}
			body, err := json.MarshalIndent(all, "", "  ")
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), string(body))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// list is who may connect, and then the files that do not count.
func (r *roll) list() []listed {
	all := []listed{}
	for i := range r.server.Clients {
		c := &r.server.Clients[i]
		one := listed{Name: c.Name, Keys: texts(c.Keys()), File: c.File(), Quota: uint64(c.Quota), Streams: c.Streams, Publish: texts(c.Publish)}
		if one.File == "" {
			one.File = r.file
		}
		if c.Rate > 0 {
			one.Rate = c.Rate.String()
		}
		all = append(all, one)
	}
	faults := r.server.Faults()
	for i := range faults {
		f := &faults[i]
		all = append(all, listed{Name: f.Name(), Keys: texts(f.Peer.Keys()), File: f.File, Problems: f.Lines()})
	}
	return all
}

// writeList is the table for people.
func writeList(out io.Writer, all []listed) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tPUBLIC KEY\tIN")
	for _, c := range all {
		for _, line := range c.Problems {
			fmt.Fprintf(w, "%s\t(a mistake)\t%s\n", c.Name, line)
		}
		if len(c.Problems) > 0 {
			continue
		}
		for i, k := range c.Keys {
			name, in := c.Name, c.File
			if i > 0 {
				name, in = "", "an older key: `rotate "+c.Name+" --finish` drops it"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", name, k, in)
		}
	}
	return w.Flush()
}
