package cli

import (
	"io"
	"time"

	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

func newStatus(h config.Host) *cobra.Command {
	var t target
	var memory bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how a sidecar, its worker and its streams are",
		Long: "Say how a sidecar, its worker and its streams are. With --memory, draw what the worker has used of each GPU in the last hour, too.\n\n" +
			exitHelp,
		Args: cobra.NoArgs,
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
			text := screen(s, t.words(), time.Now(), colours(c.OutOrStdout(), h))
			if memory {
				text += memoryGraphs(&s)
			}
			_, err = io.WriteString(c.OutOrStdout(), text)
			return err
		},
	}
	t.register(c)
	c.Flags().BoolVar(&memory, "memory", false, "draw the worker's memory on each GPU, of the last hour")
	return c
}
