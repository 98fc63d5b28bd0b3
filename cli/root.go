// Package cli is the command line: one file for each subcommand, and nothing
// else in the module knows cobra. A subcommand loads its configuration with conf,
// builds a client.Client or a server.Server, and runs it until a signal cancels
// its context.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mpsocks/mpsocks/conf"
	"github.com/mpsocks/mpsocks/mux"
)

// Main runs one command line until it ends or a signal comes, and returns the
// exit code. release is the version, or "" for what the go command stamped.
func Main(release string, args []string, stdout, stderr io.Writer) int {
	released = release
	mux.Version = version()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks; with the handler gone, the second one kills.
	context.AfterFunc(ctx, stop)
	return execute(ctx, args, stdout, stderr)
}

// execute runs one command line and returns the exit code. Tests call it too.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	switch cmd, rest, notFound := root.Find(args); {
	case notFound != nil:
		err = unknownCommand(root, rest)
	case strings.HasPrefix(err.Error(), "unknown command ") && cmd.HasSubCommands():
		err = unknownCommand(cmd, rest)
	case strings.HasPrefix(err.Error(), "unknown command "):
		err = fmt.Errorf("%q is too much: see %s --help", cmd.Flags().Arg(0), cmd.CommandPath())
	}
	code, own := errors.AsType[exitError](err)
	if own && code.cause == nil {
		return code.code
	}
	if !errors.Is(err, errSilent) {
		for _, line := range strings.Split(advise(err).Error(), "\n") {
			fmt.Fprintln(stderr, "mpsocks:", line)
		}
	}
	if own {
		return code.code
	}
	return 1
}

// unknownCommand says in one line what cobra would say in several.
func unknownCommand(of *cobra.Command, args []string) error {
	name := "-" // which is no flag
	if i := slices.IndexFunc(args, func(a string) bool { return a != "" && a[0] != '-' }); i >= 0 {
		name = args[i]
	}
	of.SuggestionsMinimumDistance = 2 // letters that a misspelt command may differ in
	near := of.SuggestionsFor(name)
	if len(near) == 0 {
		return fmt.Errorf("unknown command %q: see %s --help", name, of.CommandPath())
	}
	return fmt.Errorf("unknown command %q: did you mean %s? see %s --help", name, strings.Join(near, " or "), of.CommandPath())
}

// flagError adds to an unknown flag which one was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := conf.Nearest(unknown, known); near != "" {
		return fmt.Errorf("%w: did you mean --%s? see %s --help", err, near, cmd.CommandPath())
	}
	return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
}

// errSilent ends a command with exit code 1 when it has said all itself.
var errSilent = errors.New("failed")

// newRoot assembles the command line.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "mpsocks",
		Short: "A SOCKS5 proxy that carries UDP and TCP over several network paths at once",
		Long: `mpsocks is a SOCKS5 proxy in two halves. The client runs beside your programs
and speaks SOCKS5 with them; the server runs on a host with a public address.
Between them, every UDP datagram and every TCP connection travels over all the
network paths that the client has.

To begin:  mpsocks init --server HOST:PORT`,
		SilenceErrors: true, // execute prints them, one line each
		SilenceUsage:  true, // an error is not a reason for a page of text
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newInit(), newClient(), newServer(), newCheck(), newKeygen(),
		newProbe(), newStatus(), newDoctor(), newReload(), newDrain(), newClients(), newService(), newHealthy(), newMan(), newVersion(), newDemo(),
	)
	root.AddCommand(systemCommands()...)
	return root
}
