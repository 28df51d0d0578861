package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

// upgraded is what `upgrade --json` prints.
type upgraded struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Outcome string `json:"outcome"` // on_trial, kept or undone
	Error   string `json:"error,omitempty"`
	Keeper  int    `json:"keeper"` // the same process as before
}

// The outcomes of an upgrade.
const (
	onTrial = "on_trial"
	kept    = "kept"
	undone  = "undone"
)

func newUpgrade(h config.Host) *cobra.Command {
	var t target
	var wait bool
	c := &cobra.Command{
		Use:   "upgrade [FILE]",
		Short: "Go on with another version of the sidecar, in place, without cutting a stream",
		Long: `Go on with another version of the sidecar, in place: the same process executes FILE, by default what lies now where
it was started from, and every stream goes on. FILE is run once before, to say what it is; what does not fit is refused.
For 30 s the new version is on trial: if it dies or hangs, the old one comes back. --wait waits for the end of that.

The worker is not touched. The arguments stay those that the sidecar was started with.

` + exitHelp,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var file *os.File
			if len(args) > 0 {
				var err error
				if file, err = os.Open(args[0]); err != nil {
					return usageError{fmt.Errorf("upgrade: %w", err)}
				}
				defer file.Close()
			}
			client, err := t.find(h)
			if err != nil {
				return err
			}
			u, err := client.Upgrade(c.Context(), file)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			s, err := client.AwaitUpgrade(ctx, u, wait)
			if err != nil && ctx.Err() != nil {
				return errors.New("no longer watching; the upgrade goes on")
			}
			if _, back := errors.AsType[*admin.UndoneError](err); err != nil && !back {
				return err
			}
			return tellUpgrade(c, t, u, s, err)
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until the trial is over; fails if the old version came back")
	t.register(c)
	return c
}

// tellUpgrade prints what has come of it; failed is why the old version goes on.
func tellUpgrade(c *cobra.Command, t target, u admin.Upgrade, s admin.Status, failed error) error {
	told := upgraded{From: u.From, To: s.Version, Outcome: kept, Keeper: s.Keeper}
	words := fmt.Sprintf("%s goes on as %s, PID %d", s.Name, s.Version, s.Keeper)
	switch {
	case failed != nil:
		told.To, told.Outcome, told.Error = u.To, undone, failed.Error()
		failed = fmt.Errorf("%w; %s goes on as %s", failed, s.Name, s.Version)
	case s.Upgrades.OnTrial:
		told.Outcome = onTrial
		words += fmt.Sprintf("; if it dies within %s, %s comes back", spanMS(s.Upgrades.TrialLeftMS), u.From)
	}
	if t.json {
		if err := printJSON(c.OutOrStdout(), told); err != nil {
			return err
		}
	} else if failed == nil {
		fmt.Fprintln(c.OutOrStdout(), words)
	}
	return failed
}
