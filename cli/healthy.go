package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mpsocks/mpsocks/conf"
)

// newHealthy is `mpsocks healthy`: for service managers and containers, which have no
// curl.
func newHealthy() *cobra.Command {
	var address, file string
	cmd := &cobra.Command{
		Use:   "healthy",
		Short: "End with 0 if a running client or server is well, else with 1 and a line",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if env := os.Getenv(conf.EnvPrefix + "ADMIN"); env != "" && !cmd.Flags().Changed("admin") && file == "" {
				address = env
			}
			to, err := adminOf(cmd, address, file)
			if err != nil {
				return err
			}
			return askHealth(cmd.Context(), to)
		},
	}
	controlFlags(cmd, &address, &file)
	return cmd
}

// askHealth is nil if the half at an admin address says that it is well.
func askHealth(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("nothing answers at %s: %w", address, err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // a word of it is enough
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", address, resp.Status, strings.TrimSpace(string(said)))
	}
	return nil
}
