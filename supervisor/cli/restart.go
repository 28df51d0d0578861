package cli

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

func newRestart(h config.Host) *cobra.Command {
	var t target
	var now, wait bool
	c := &cobra.Command{
		Use:   "restart",
		Short: "Restart the worker without cutting a stream",
		Long: `Restart the worker without cutting a stream: new streams are held, open ones run to their end, then the worker is
stopped and started, and the held ones go on. If open streams have not ended when --drain is over, the restart is
postponed and the old worker goes on. A restart asked for during a restart joins it.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := t.find(h)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			told := out // what is told on the way; only the end of it is JSON
			if t.json {
				told = io.Discard
			}
			before, err := client.Status(c.Context())
			if err != nil {
				return err
			}
			if before.Gate.State == "leaving" {
				return &admin.Refusal{Code: admin.Leaving, Message: fmt.Sprintf("no restart: sidecar %s is leaving, its worker goes with it; %s status %s shows how far it is",
					before.Name, program, t.words())}
			}
			if before.Worker.Driver != "none" && before.Frozen == nil { // else it will be refused
				fmt.Fprintln(told, aheadWords(before, now))
			}
			r, err := client.Restart(c.Context(), admin.RestartRequest{Now: now})
			if err != nil {
				return withThaw(err, t.words())
			}
			if r.Joined {
				fmt.Fprintf(told, "restart %d was under way already (%s); joined\n", r.ID, r.Phase)
			}
			if !wait {
				fmt.Fprintf(told, "restart %d has begun; %s status %s shows how far it is, restart --wait would have followed it\n",
					r.ID, program, t.words())
			} else if r, err = follow(c, client, r, told); err != nil {
				return err
			}
			if t.json {
				if err := printJSON(out, r); err != nil {
					return err
				}
			} else if r.Outcome == admin.Done {
				fmt.Fprintln(told, doneWords(r))
			}
			return verdict(r, t.words())
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "show progress until it has ended; fails if the restart did")
	c.Flags().BoolVar(&now, "now", false, "cut the streams that are open")
	t.register(c)
	return c
}

// follow shows progress until the restart has ended. Ctrl-C ends the watching, not the restart.
func follow(c *cobra.Command, client *admin.Client, r admin.Restart, out io.Writer) (admin.Restart, error) {
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p := progress{line{w: out, redraw: isTerminal(out)}}
	p.show(r)
	ended, err := client.Wait(ctx, r, p.show)
	p.clear()
	if err != nil && ctx.Err() != nil {
		return ended, fmt.Errorf("no longer watching; restart %d goes on", r.ID)
	}
	return ended, err
}

// aheadWords says what a restart will mean for streams, before it is asked for.
func aheadWords(s admin.Status, now bool) string {
	a := s.Ahead
	open := "no streams are open"
	if a.Streams > 0 {
		open = fmt.Sprintf("%s open, the oldest for %s", count(int64(a.Streams), "stream"), spanMS(a.OldestMS))
	}
	start := "the worker's start (not known yet)"
	if a.StartMS > 0 {
		start = spanMS(a.StartMS) + " for the worker's start"
	}
	switch {
	case a.Streams == 0:
		return fmt.Sprintf("%s; new ones will wait about %s", open, start)
	case now:
		return fmt.Sprintf("%s, which --now cuts; new ones will wait about %s", open, start)
	default:
		return fmt.Sprintf("%s; new ones will wait about %s: until these have ended (at most %s), and %s",
			open, spanMS(a.WaitMS), spanMS(a.DrainMS), start)
	}
}

func doneWords(r admin.Restart) string {
	return fmt.Sprintf("restart %d is done after %s: life %d serves, %s cut, longest hold %s",
		r.ID, spanMS(r.TookMS), r.ToLife, count(r.Cut, "stream"), spanMS(r.LongestHoldMS))
}

// verdict turns the end of a restart into the command's; sidecar is what to type for the one that was asked.
func verdict(r admin.Restart, sidecar string) error {
	switch r.Outcome {
	case admin.GivenUp:
		return fmt.Errorf("restart %d failed after %s, no new life serves: %s", r.ID, spanMS(r.TookMS), r.Error)
	case admin.Overtaken:
		return fmt.Errorf("restart %d was overtaken after %s: %s", r.ID, spanMS(r.TookMS), r.Error)
	case admin.Postponed:
		var b strings.Builder
		fmt.Fprintf(&b, "restart %d is postponed: %s did not end within %s, life %d goes on; ask again later, or cut them with %s restart %s --now",
			r.ID, count(int64(len(r.InTheWay)), "stream"), spanMS(r.Ahead.DrainMS), r.FromLife, program, sidecar)
		for _, s := range r.InTheWay {
			fmt.Fprintf(&b, "\n  stream %d of %s, open for %s, request %s", s.ID, s.Client, spanMS(s.AgeMS), s.RequestID)
		}
		return postponedError{errors.New(b.String())}
	case admin.Done, "": // "": not waited for
	}
	return nil
}

// progress shows how a restart comes on.
type progress struct{ line }

func (p *progress) show(r admin.Restart) {
	if !r.Ended() {
		p.line.show(progressWords(r), r.Phase)
	}
}

func progressWords(r admin.Restart) string {
	text := r.Phase
	if r.Open > 0 {
		text += fmt.Sprintf(": %s of life %d open, the oldest for %s", count(int64(r.Open), "stream"), r.FromLife, spanMS(r.OldestMS))
	}
	if r.Held > 0 {
		text += fmt.Sprintf("; %d held for up to %s", r.Held, spanMS(r.LongestHoldMS))
	}
	text += "; " + spanMS(r.TookMS) + " so far"
	if r.Error != "" {
		text += "; " + strings.ReplaceAll(r.Error, "\n", " ")
	}
	return text
}
