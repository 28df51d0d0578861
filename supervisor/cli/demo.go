package cli

import (
	"os/signal"
	"syscall"

	"autoglm-sidecar/supervisor/demo"

	"github.com/spf13/cobra"
)

func newDemo() *cobra.Command {
	o := demo.DefaultOptions()
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a worker restarted and the sidecar killed under load, and not a stream cut",
		Long: `Show a worker restarted and the sidecar killed under load, and not a stream cut. It needs no GPU, no model and no
network, takes about a minute, and stops all that it started. It ends with 0 only if each answer was whole.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return demo.Run(ctx, o, c.OutOrStdout())
		},
	}
	demo.RegisterFlags(c.Flags(), &o)
	return c
}
