package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan is `mpsocks man`: manual pages made from the commands themselves.
func newMan() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Write manual pages of all commands",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			root := newRoot()
			root.DisableAutoGenTag = true // the same pages from the same program
			day := time.Unix(0, 0).UTC()  // a page says the version in place of a day
			if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Date: &day, Source: "mpsocks " + version(), Manual: "mpsocks"}, dir); err != nil {
				return err
			}
			return trimDates(dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "man", "directory for the pages")
	return cmd
}

// trimDates takes the day out of the pages' heads.
func trimDates(dir string) error {
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		return err
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		text = []byte(strings.Replace(string(text), `"Jan 1970"`, `""`, 1))
		if err := os.WriteFile(page, text, 0o644); err != nil {
			return fmt.Errorf("manual page: %w", err)
		}
	}
	return nil
}
