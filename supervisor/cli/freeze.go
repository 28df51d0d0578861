package cli

import (
	"errors"
	"fmt"
	"time"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

// longestFreeze is the sidecar's own bound: what is forgotten must end by itself.
const longestFreeze = 7 * 24 * time.Hour

func newFreeze(h config.Host) *cobra.Command {
	s := newSaying(admin.Freeze, "See to it that nobody restarts or stops the worker for a while",
		`See to it that nobody restarts or stops the worker for a while: no restart that is planned or that its health asks for, and
none by hand either before unfreeze. A worker that crashes is started again, unless --all. A restart that still waits for
streams is given up. It ends by itself, survives a death of the sidecar, and does not keep the sidecar from leaving.`, h)
	var d time.Duration
	s.Flags().DurationVar(&d, "for", 0, "how long, at most 168h; needed")
	s.Flags().StringVar(&s.word.Why, "why", "", "what it is for, for those who meet it; needed")
	s.Flags().BoolVar(&s.word.All, "all", false, "a worker that crashes stays down, too; new streams are held, each for at most --hold of the sidecar")
	run := s.RunE
	s.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case d <= 0 || d > longestFreeze:
			return usageError{fmt.Errorf("--for %v: a freeze lasts more than 0 and at most %v; type: %s freeze --for 2h --why TEXT", d, longestFreeze, program)}
		case s.word.Why == "":
			return usageError{errors.New("--why is missing: those who meet the freeze will want to know; type: " + program + " freeze --for 2h --why TEXT")}
		}
		s.word.For = admin.Span(d)
		return run(c, args)
	}
	s.told = func(before admin.Status, _ admin.Taken) string {
		words := fmt.Sprintf("frozen for %s, until %s: nobody restarts or stops the worker", span(d), clock(time.Now().Add(d), time.Now()))
		if s.word.All {
			words += ", and if it crashes it stays down"
		} else {
			words += "; if it crashes it is started again"
		}
		if before.Frozen != nil {
			words += fmt.Sprintf(". The freeze of %s (%s) is replaced", before.Frozen.By, before.Frozen.Why)
		}
		return words
	}
	return s.Command
}

func newUnfreeze(h config.Host) *cobra.Command {
	s := newSaying(admin.Unfreeze, "End a freeze before its time", "End a freeze before its time.", h)
	s.told = func(before admin.Status, taken admin.Taken) string {
		switch {
		case taken.Already || before.Frozen == nil:
			return "it was not frozen; nothing has changed"
		case before.State == "frozen":
			return "the freeze is over; the worker is being started"
		}
		return fmt.Sprintf("the freeze of %s (%s) is over", before.Frozen.By, before.Frozen.Why)
	}
	return s.Command
}
