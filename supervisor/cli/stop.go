package cli

import (
	"errors"
	"fmt"
	"time"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

func newStop(h config.Host) *cobra.Command {
	s := newSaying(admin.Stop, "Stop the worker, and refuse streams until start",
		`Stop the worker, and refuse streams until start. New streams are held while the open ones run to their end, however long
that is; then the worker is stopped and the held ones are refused, so that their clients go elsewhere. It stays stopped,
also over a death of the sidecar.`, h)
	s.mayWait("it has stopped; fails after --drain of the sidecar if streams are in the way, and the stop goes on")
	s.Flags().BoolVar(&s.word.Now, "now", false, "cut the streams that are open")
	s.told = func(before admin.Status, taken admin.Taken) string {
		switch {
		case before.Phase == "stopped":
			return fmt.Sprintf("stopped already; to start it: %s start %s", program, s.target.words())
		case before.Gate.InFlight > 0 && s.word.Now:
			return fmt.Sprintf("%s, which --now cuts; then the worker is stopped", openWords(before))
		case taken.Already:
			return fmt.Sprintf("being stopped already: %s, %s", openWords(before), heldNow(before))
		}
		words := openWords(before) + "; then the worker is stopped, and streams are refused"
		if before.Gate.InFlight > 0 {
			words = openWords(before) + "; when they have ended the worker is stopped, and streams are refused"
		}
		if !s.wait {
			words += fmt.Sprintf("; %s status %s shows how far it is", program, s.target.words())
		}
		return words
	}
	s.reached = func(now admin.Status, waited time.Duration) (bool, string, error) {
		switch {
		case now.Stopped == nil:
			return false, "", errors.New("no longer stopping: somebody has started it")
		case now.Phase == "stopped":
			return true, fmt.Sprintf("stopped after %s: streams are refused. To start it: %s start %s", span(waited), program, s.target.words()), nil
		case now.Gate.InFlight > 0 && waited.Milliseconds() > now.Ahead.DrainMS:
			return false, "", postponedError{fmt.Errorf("not stopped within %s: %s; the stop goes on waiting for them. Cut them with %s stop --now %s, or take it back with %s start %s",
				spanMS(now.Ahead.DrainMS), openWords(now), program, s.target.words(), program, s.target.words())}
		}
		return false, fmt.Sprintf("%s: %s, %s; %s so far", now.Phase, openWords(now), heldNow(now), span(waited)), nil
	}
	return s.Command
}
