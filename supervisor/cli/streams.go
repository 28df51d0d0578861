package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/daemon"

	"github.com/spf13/cobra"
)

// history --streams ID: what one restart did to single streams.

func sayStreams(c *cobra.Command, t *target, id int64, state string, h config.Host) error {
	touched, err := readStreams(c, t, id, state, h)
	if refused, ok := errors.AsType[*admin.Refusal](err); ok && refused.Code == admin.UnknownRestart {
		return fmt.Errorf("restart %d is not in the ledger; %s history %s lists those that are", id, program, t.words())
	}
	if err != nil {
		return err
	}
	if t.json {
		return printJSON(c.OutOrStdout(), touched)
	}
	_, err = io.WriteString(c.OutOrStdout(), streamTable(touched, time.Now()))
	return err
}

// readStreams asks the sidecar, or reads the ledger where none runs.
func readStreams(c *cobra.Command, t *target, id int64, state string, h config.Host) (admin.Touched, error) {
	if state != "" {
		return daemon.Touched(state, id)
	}
	client, err := t.find(h)
	if err == nil {
		return client.Touched(c.Context(), id)
	}
	if none, ok := errors.AsType[admin.NotRunning](err); !ok || none.Forbidden() || t.control != "" {
		return admin.Touched{}, err
	}
	for _, dir := range config.StateDirs(t.name, h) {
		touched, readErr := daemon.Touched(dir, id)
		if !errors.Is(readErr, fs.ErrNotExist) {
			return touched, readErr
		}
	}
	return admin.Touched{}, err
}

// streamTable is one line a stream, and above them how many there were of which not all are listed.
func streamTable(t admin.Touched, now time.Time) string {
	var b strings.Builder
	r := t.Restart
	fmt.Fprintf(&b, "restart %d: %s were held, %s cut, %s refused", r.ID, count(r.Held, "stream"), number(r.Cut), number(r.Refused))
	if r.InTheWay > 0 {
		fmt.Fprintf(&b, ", %d in the way", r.InTheWay)
	}
	if len(t.Streams) == 0 {
		b.WriteString("; none is recorded one by one\n")
		return b.String()
	}
	fmt.Fprintf(&b, "; %s listed\n\n", count(int64(len(t.Streams)), "stream"))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "OUTCOME\tWAITED\tAGE\tENDED\tBYTES\tSTATUS\tLIFE\tCLIENT\tREQUEST\tROUTE")
	for _, s := range t.Streams {
		outcome := s.Outcome
		if s.Cause != "" {
			outcome += " (" + s.Cause + ")"
		}
		if s.InTheWay {
			outcome += ", in the way"
		}
		ended := clock(s.Ended, now)
		if s.Outcome == admin.StillOpen {
			ended = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", outcome, spanMS(s.WaitedMS), spanMS(s.AgeMS), ended, number(s.Bytes),
			dash(int64(s.Status)), dash(s.Life), cmp.Or(s.Client, "-"), s.RequestID, cmp.Or(s.Route, "-"))
	}
	w.Flush()
	return b.String()
}

func dash(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
