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
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/mux"
	"github.com/mpsocks/mpsocks/status"
)

// Main runs one command line until it ends or a signal comes, and returns the
// exit code. release is the version, or "" for what the go command stamped.
func Main(release string, args []string, stdout, stderr io.Writer) int {
	released = release
	mux.Version = version()
	deafToInterrupts = signal.Ignored(os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks; with the handler gone, the second one kills.
	context.AfterFunc(ctx, stop)
	return execute(ctx, args, stdout, stderr)
}

// deafToInterrupts says that this process was started with interrupts ignored, as a script's
// in the background are: so is then what it runs.
var deafToInterrupts bool

// execute runs one command line and returns the exit code. Tests call it too.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.InitDefaultCompletionCmd() // now, for it writes to what is set
	for _, cmd := range root.Commands() {
		if cmd.HasSubCommands() && !cmd.Runnable() { // else what follows it would be passed over
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	err = plainly(root, args, err)
	code, own := errors.AsType[exitError](err)
	if own && code.cause == nil {
		return code.code
	}
	if !errors.Is(err, errSilent) {
		for _, line := range strings.Split(advise(err).Error(), "\n") {
			fmt.Fprintln(stderr, "mpsocks:", status.Plain(line))
		}
	}
	if own {
		return code.code
	}
	return 1
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
	root.SetHelpCommand(newHelp())
	root.SetFlagErrorFunc(flagError)
	// It gives it --version. A template of our own would link text/template, and with it each method of each type: a sixth of the binary.
	root.Version = versionWords()
	root.InitDefaultVersionFlag()
	root.AddCommand(
		newInit(), newClient(), newServer(), newCheck(), newKeygen(),
		newProbe(), newStatus(), newDoctor(), newReload(), newDrain(), newClients(), newService(), newHealthy(), newMan(), newVersion(), newDemo(),
	)
	root.AddCommand(systemCommands()...)
	completes(root)
	return root
}

// newHelp is `mpsocks help COMMAND`; that of cobra's own takes an unknown command for a success.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Print what `--help` of a command does",
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || of.HasSubCommands() && len(rest) > 0 {
				return unknownCommand(of, rest)
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			if of, _, err := cmd.Root().Find(args); err == nil {
				for _, sub := range of.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
