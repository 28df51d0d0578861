package cli

import (
	"fmt"
	"io"

	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/daemon"

	"github.com/spf13/cobra"
)

func newRun(stderr io.Writer, h config.Host) *cobra.Command {
	s := config.Defaults()
	var file *string
	c := &cobra.Command{
		Use:   "run [flags] [-- COMMAND ARG...]",
		Short: "Stand beside a worker: relay its clients' streams, and run it if a command is given",
		Long: `Stand beside a worker: relay its clients' streams, and run it if a command is given.

{port} and {socket} in COMMAND become a free local port, or the path of a socket, for the worker to listen on. A
worker that somebody else runs is named by --upstream; then there is no COMMAND, and restart is refused.

SIGTERM: new streams are refused so that clients retry elsewhere, open ones end within --drain, the worker is
stopped. A second SIGTERM, a second later or more, hurries.

` + exitHelp,
		Example: `  autoglm-sidecar run -- vllm serve MODEL --uds {socket}
  autoglm-sidecar run -- python3 -m sglang.launch_server --model-path MODEL --port {port}
  autoglm-sidecar run --config gpu0.yaml
  autoglm-sidecar run --upstream 127.0.0.1:8001`,
		RunE: func(c *cobra.Command, args []string) error {
			s.Typed = typed(c.Flags())
			if len(args) > 0 && c.ArgsLenAtDash() != 0 {
				return usageError{fmt.Errorf("the worker's command comes after --; type: %s", s.Line(config.Excerpt(args)))}
			}
			settings, found, err := resolve(&s, *file, args, h)
			if err != nil {
				return err
			}
			log := newLog(stderr)
			w := listen(c.Context(), settings.Drain, log)
			return daemon.Run(c.Context(), settings, daemon.Options{
				Log:     log,
				Version: buildVersion(),
				Output:  c.OutOrStdout(),
				Leave:   w.leave,
				Hurry:   w.hurry,

				OOMScore: found.OOMScore,
			})
		},
	}
	file = settingsFlags(c.Flags(), &s)
	return c
}
