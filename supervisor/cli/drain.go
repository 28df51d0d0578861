package cli

import (
	"errors"
	"fmt"
	"time"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

func newDrain(h config.Host) *cobra.Command {
	s := newSaying(admin.Drain, "Hold new streams and leave the worker alone",
		`Hold new streams and leave the worker alone. Open streams run to their end, new ones wait, each for at most --hold of the
sidecar, until open takes it back. Nothing else does: neither a restart of the worker nor a death of the sidecar.`, h)
	s.mayWait("no stream is open; fails after --drain of the sidecar, and the gate goes on holding")
	s.told = func(before admin.Status, taken admin.Taken) string {
		if taken.Already {
			return fmt.Sprintf("drained already: %s, %s", openWords(before), heldNow(before))
		}
		return fmt.Sprintf("new streams are held from here on, %s; the worker stays. To take that back: %s open %s",
			openWords(before), program, s.target.words())
	}
	s.reached = func(now admin.Status, waited time.Duration) (bool, string, error) {
		words := fmt.Sprintf("%s, %s; %s so far", openWords(now), heldNow(now), span(waited))
		switch {
		case now.Drained == nil:
			return false, "", errors.New("no longer drained: somebody has taken it back")
		case now.Gate.State == "leaving":
			return false, "", errors.New("no longer waiting: the sidecar is leaving")
		case now.Gate.InFlight == 0:
			return true, fmt.Sprintf("drained after %s: no stream is open, %s", span(waited), heldNow(now)), nil
		case waited.Milliseconds() > now.Ahead.DrainMS:
			return false, "", postponedError{fmt.Errorf("not drained within %s: %s; the gate goes on holding. Wait on with %s drain --wait %s, or take it back with %s open %s",
				spanMS(now.Ahead.DrainMS), openWords(now), program, s.target.words(), program, s.target.words())}
		}
		return false, words, nil
	}
	return s.Command
}
