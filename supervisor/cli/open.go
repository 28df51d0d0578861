package cli

import (
	"fmt"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

func newOpen(h config.Host) *cobra.Command {
	s := newSaying(admin.Open, "Let streams in again after a drain",
		"Let streams in again after a drain: those that were held first, in the order in which they came.", h)
	s.told = func(before admin.Status, taken admin.Taken) string {
		switch {
		case taken.Already:
			return "it was not drained; nothing has changed"
		case before.Stopped != nil:
			return fmt.Sprintf("the drain is taken back, but the worker is stopped; to start it: %s start %s", program, s.target.words())
		case before.State != "holding":
			return fmt.Sprintf("the drain is taken back; the gate opens as soon as the worker serves (it is %s)", before.Phase)
		}
		words := fmt.Sprintf("open: life %d serves", before.Life)
		if before.Gate.Held > 0 {
			words += ", " + count(int64(before.Gate.Held), "held stream") + " let in"
		}
		return words
	}
	return s.Command
}
