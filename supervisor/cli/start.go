package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

func newStart(h config.Host) *cobra.Command {
	s := newSaying(admin.Start, "Start a worker that was stopped or given up",
		"Start a worker that was stopped, or given up after too many crashes. A stop that still waits for streams is taken back.", h)
	s.mayWait("it serves; fails if it is given up")
	s.told = func(before admin.Status, taken admin.Taken) string {
		words := "the worker is being started"
		switch {
		case taken.Already && before.Phase == "serving":
			return "it serves already; nothing has changed"
		case taken.Already:
			words = fmt.Sprintf("it is %s already; nothing has changed", before.Phase)
		case before.Stopped != nil && before.Phase == "draining":
			words = fmt.Sprintf("the stop is taken back: life %d goes on", before.Life)
		case before.Ahead.StartMS > 0:
			words += ", which took " + spanMS(before.Ahead.StartMS) + " the last time"
		}
		if before.Drained != nil {
			words += fmt.Sprintf("; streams stay held, %s drained: %s open %s", before.Drained.By, program, s.target.words())
		} else if !s.wait && !taken.Already {
			words += fmt.Sprintf("; %s status %s shows how far it is", program, s.target.words())
		}
		return words
	}
	s.reached = func(now admin.Status, waited time.Duration) (bool, string, error) {
		switch {
		case now.Halted != "":
			return false, "", fmt.Errorf("it was given up after %s: %s", span(waited), now.Halted)
		case now.Stopped != nil:
			return false, "", errors.New("somebody has stopped it again")
		case now.Gate.State == "leaving":
			return false, "", errors.New("no longer waiting: the sidecar is leaving")
		case now.Phase == "serving":
			return true, fmt.Sprintf("life %d serves after %s", now.Life, span(waited)), nil
		case now.State == "holding":
			return true, fmt.Sprintf("life %d is ready after %s; streams stay held until %s open %s", now.Life, span(waited), program, s.target.words()), nil
		}
		words := now.Phase
		if now.Worker.Progress != "" {
			words += ": " + strings.ReplaceAll(now.Worker.Progress, "\n", " ")
		}
		return false, fmt.Sprintf("%s, %s; %s so far", words, heldNow(now), span(waited)), nil
	}
	return s.Command
}
