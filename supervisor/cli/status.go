package cli

import (
	"io"
	"time"

	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

func newStatus(h config.Host) *cobra.Command {
	var t target
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how a sidecar, its worker and its streams are",
		Long:  "Say how a sidecar, its worker and its streams are.\n\n" + exitHelp,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := t.find(h)
			if err != nil {
				return err
			}
			s, err := client.Status(c.Context())
			if err != nil {
				return err
			}
			if t.json {
				return printJSON(c.OutOrStdout(), s)
			}
			_, err = io.WriteString(c.OutOrStdout(), screen(s, t.words(), time.Now(), colours(c.OutOrStdout(), h)))
			return err
		},
	}
	t.register(c)
	return c
}
