package cli

import (
	"fmt"
	"io"

	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/daemon"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newRun(stderr io.Writer, h config.Host) *cobra.Command {
	s := config.Defaults()
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
  autoglm-sidecar run --probe http:/health -- python3 -m sglang.launch_server --model-path MODEL --port {port}
  autoglm-sidecar run --upstream 127.0.0.1:8001`,
		RunE: func(c *cobra.Command, args []string) error {
			s.Command, s.Typed = args, typed(c.Flags())
			if len(args) > 0 && c.ArgsLenAtDash() != 0 {
				return usageError{fmt.Errorf("the worker's command comes after --; type: %s", s.Line(config.Excerpt(args)))}
			}
			settings, err := s.Resolve(h)
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
			})
		},
	}
	settingsFlags(c.Flags(), &s)
	return c
}

func settingsFlags(f *pflag.FlagSet, s *config.Settings) {
	f.SortFlags = false
	f.SetInterspersed(false) // else a forgotten -- would have the worker's options read as ours
	f.StringVar(&s.Name, "name", s.Name, "name of this sidecar, of a-z, 0-9 and -")
	f.StringArrayVar(&s.Listen, "listen", s.Listen, "`ADDR` or unix:PATH that clients connect to; may be repeated")
	f.StringVar(&s.Upstream, "upstream", s.Upstream, "`ADDR` or unix:PATH of the worker, if COMMAND has no {port} or {socket}")
	f.StringVar(&s.Control, "control", s.Control, "`PATH` of the control socket (default: NAME.sock in the runtime directory)")
	f.StringVar(&s.HTTP, "http", s.HTTP, "`ADDR` for /livez and /readyz, or off")
	f.DurationVar(&s.Drain, "drain", s.Drain, "how long a restart waits for open streams; then it is postponed")
	f.StringVar(&s.Hold, "hold", s.Hold, "how `LONG` a new stream waits at most while no worker serves; 0: refused at once, auto: drain + start deadline")
	f.DurationVar(&s.StartDeadline, "start-deadline", s.StartDeadline, "how long a starting worker may show no progress")
	f.DurationVar(&s.StopGrace, "stop-grace", s.StopGrace, "how long a worker has from TERM to KILL")
	f.DurationVar(&s.Heartbeat, "heartbeat", s.Heartbeat, "silence of an event stream before a comment is sent; 0: none")
	f.StringVar(&s.Probe, "probe", s.Probe, "`HOW` a worker is seen to be ready: tcp, or http:/PATH")
	f.StringVar(&s.State, "state", s.State, "`DIR` of the ledger (default: NAME in the state directory)")
	f.IntVar(&s.MaxConnections, "max-connections", s.MaxConnections, "client connections at a time")
}

// typed returns the flags that were set, as words to be typed again.
func typed(f *pflag.FlagSet) []string {
	var words []string
	f.Visit(func(flag *pflag.Flag) {
		values := []string{flag.Value.String()}
		if each, ok := flag.Value.(pflag.SliceValue); ok {
			values = each.GetSlice()
		}
		for _, value := range values {
			words = append(words, "--"+flag.Name, value)
		}
	})
	return words
}
