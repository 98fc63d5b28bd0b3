package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/admin"
	"github.com/mpsocks/mpsocks/conf"
)

// newReload is `mpsocks reload`: a running half reads its file anew.
func newReload() *cobra.Command {
	var address, file string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a running client or server read its configuration anew",
		Long: `Have a running client or server read its configuration anew, and print what has
changed. A configuration with a mistake changes nothing, and every mistake is
printed. SIGHUP does the same, and says it in the log. docs/reload.md says which
settings a running half takes over.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			to, err := adminOf(cmd, address, file)
			if err != nil {
				return err
			}
			changes, err := control(cmd.Context(), to, "/reload")
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
	controlFlags(cmd, &address, &file)
	return cmd
}

// newDrain is `mpsocks drain`: a server ends when what is under way has ended.
func newDrain() *cobra.Command {
	var address, file string
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Have a running server take nothing new, and end when what is under way has ended",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("admin") && file == "" {
				address = serverAdmin
			}
			to, err := adminOf(cmd, address, file)
			if err != nil {
				return err
			}
			if _, err = control(cmd.Context(), to, "/drain"); err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "the server drains; `mpsocks status` shows what is left")
			}
			return err
		},
	}
	controlFlags(cmd, &address, &file)
	return cmd
}

// Where the halves' admin addresses are as init writes them.
const (
	clientAdmin = "127.0.0.1:9081"
	serverAdmin = "127.0.0.1:9082"
)

func controlFlags(cmd *cobra.Command, address, file *string) {
	cmd.Flags().StringVar(address, "admin", clientAdmin, "the half's admin address; a server's is "+serverAdmin+" as init writes it")
	cmd.Flags().StringVarP(file, "config", "c", "", "take the admin address from this configuration file")
}

// adminOf is the admin address that a command shall ask.
func adminOf(cmd *cobra.Command, address, file string) (string, error) {
	if file == "" {
		return address, nil
	}
	if cmd.Flags().Changed("admin") {
		return "", errors.New("--admin and --config are two ways to say the same: leave one of them out")
	}
	return adminIn(file)
}

// adminIn is the admin address of a configuration file.
func adminIn(file string) (string, error) {
	cfg, err := conf.Load(file)
	if err != nil {
		return "", err
	}
	var a string
	switch c := cfg.(type) {
	case *conf.Client:
		a = addrText(c.Admin)
	case *conf.Server:
		a = addrText(c.Admin)
	}
	if a == "" {
		return "", fmt.Errorf("%s has no admin address: give it one, or send SIGHUP", file)
	}
	return a, nil
}

// control asks a running half to do something and returns what it says.
func control(ctx context.Context, address, what string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+what, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(admin.ControlHeader, "yes")
	client := http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		if _, notThere := errors.AsType[*net.OpError](err); notThere || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("nothing answers at %s: is it running, with admin: %s in its configuration?", address, address)
		}
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusUnprocessableEntity:
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return nil, fmt.Errorf("%s does not offer %s: the address has to be a loopback one, and the half one that can", address, what)
	default:
		return nil, fmt.Errorf("%s answers %s", address, resp.Status)
	}
	var result admin.ControlResult
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		return nil, fmt.Errorf("%s answers something else: is it mpsocks? (%w)", address, err)
	}
	if result.Error != "" {
		return nil, errors.New(result.Error)
	}
	return result.Changes, nil
}
