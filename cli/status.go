package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/status"
)

// newStatus is `mpsocks status`: what the running halves say about themselves.
func newStatus() *cobra.Command {
	var at locator
	var asJSON, watch, web bool
	cmd := &cobra.Command{
		Use:        "status [client|server]",
		SuggestFor: []string{"stats", "show", "info", "list", "top", "ps"},
		Short:      "Show what a running client or server does: paths, programs, and why they go where they go",
		Long: `Show what a running client or server does: its paths and their states, which
program goes where and why, and what happened in the last hour. The halves of this
machine are found by themselves; both are shown if both run.`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{status.Client, status.Server},
		RunE: func(cmd *cobra.Command, args []string) error {
			halves := []string{status.Client, status.Server}
			if len(args) == 1 {
				halves = args
			}
			all, err := at.find(halves...)
			if err != nil {
				return err
			}
			clients, states, err := answering(cmd.Context(), all)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case web:
				return printLinks(out, clients, states)
			case asJSON:
				body, err := clients[0].Raw(cmd.Context())
				if err == nil {
					_, err = out.Write(body)
				}
				return err
			case watch && isTerminal(out) && os.Getenv("TERM") != "dumb":
				return watchStatus(cmd.Context(), clients, states, out)
			}
			return printStatus(out, states)
		},
	}
	at.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print the whole model as JSON")
	f.BoolVarP(&watch, "watch", "w", false, "stay, and show it live")
	f.BoolVar(&web, "web", false, "print the link of the web page, with the token that it asks for")
	cmd.MarkFlagsMutuallyExclusive("json", "watch", "web")
	return cmd
}

// printStatus writes the halves one after the other, each for a screen.
func printStatus(w io.Writer, states []*status.Status) error {
	var b strings.Builder
	width, height := screenSize(w)
	for i, s := range states {
		if i > 0 {
			b.WriteString("\n")
		}
		// A line is left for the prompt.
		for _, part := range view(s, width, height-1, time.Now(), nil) {
			if part.title != "" {
				b.WriteString(part.title)
				if part.more > 0 {
					fmt.Fprintf(&b, " (%s more: status --json, or -w)", count(part.more, "line"))
				}
				b.WriteString("\n")
			}
			for _, line := range part.lines {
				b.WriteString(strings.TrimRight(line, " ") + "\n")
			}
		}
	}
	_, err := io.WriteString(w, legible(b.String()))
	return err
}

// printLinks writes where a browser finds the pages.
func printLinks(w io.Writer, clients []*admin.Client, states []*status.Status) error {
	found := false
	for i, c := range clients {
		if c.Addr.Path != "" {
			continue // a browser cannot go there
		}
		found = true
		if _, err := fmt.Fprintf(w, "%s: %s\n", states[i].Half, c.URL("/?token="+c.Token)); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("it answers by a Unix socket only, where a browser cannot go: add HOST:PORT to admin")
	}
	return nil
}
