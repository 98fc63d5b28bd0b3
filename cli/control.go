package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/status"
)

// newReload is `mpsocks reload`: a running half reads its file anew.
func newReload() *cobra.Command {
	var at locator
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a running client or server read its configuration anew",
		Long: `Have a running client or server read its configuration anew, and print what has
changed. A configuration with a mistake changes nothing, and every mistake is
printed. SIGHUP does the same, and says it in the log. docs/reload.md says which
settings a running half takes over.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := controlFirst(cmd.Context(), &at, "/reload", status.Client, status.Server)
			if err != nil {
				return err
			}
			if len(changes) == 0 {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "the configuration is the same")
			}
			for _, line := range changes {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			return err
		},
	}
	at.flags(cmd)
	return cmd
}

// newDrain is `mpsocks drain`: a server ends when what is under way has ended.
func newDrain() *cobra.Command {
	var at locator
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Have a running server take nothing new, and end when what is under way has ended",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if _, err = controlFirst(cmd.Context(), &at, "/drain", status.Server); err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "the server drains; `mpsocks status` shows what is left")
			}
			return err
		},
	}
	at.flags(cmd)
	return cmd
}

// controlFirst asks the half that answers to do something, and returns what it says.
// Two that answer are one too many: which is meant has to be said.
func controlFirst(ctx context.Context, at *locator, what string, halves ...string) ([]string, error) {
	all, err := at.find(halves...)
	if err != nil {
		return nil, err
	}
	clients, states, err := answering(ctx, all)
	if err != nil {
		return nil, err
	}
	if len(clients) > 1 {
		return nil, fmt.Errorf("a %s at %s and a %s at %s answer: say which with --admin or -c", states[0].Half, clients[0].Addr, states[1].Half, clients[1].Addr)
	}
	return clients[0].Control(ctx, what)
}
