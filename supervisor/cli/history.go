package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
	"autoglm-sidecar/supervisor/daemon"

	"github.com/spf13/cobra"
)

func newHistory(h config.Host) *cobra.Command {
	var t target
	var q admin.HistoryQuery
	var since, state string
	var streams bool
	c := &cobra.Command{
		Use:   "history [ID]",
		Short: "Say what each restart did, and why it was",
		Long: `Say what each restart did, and why it was, newest first; with the ID of one, all that is known of it, its
worker's memory on each GPU in the hour before included. It is asked of the sidecar; where none runs, the ledger in its
state directory is read, which needs the right to.

` + exitHelp,
		Example: `  autoglm-sidecar history --since 24h
  autoglm-sidecar history 17
  autoglm-sidecar history --streams 17
  autoglm-sidecar history --last 1000 --json | jq '.restarts[] | select(.cut > 0)'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			now := time.Now()
			if q.Since, err = sinceOf(since, now); err != nil {
				return usageError{err}
			}
			if q.Limit < 1 || q.Limit > admin.MostHistory {
				return usageError{fmt.Errorf("--last %d: must be between 1 and %d", q.Limit, admin.MostHistory)}
			}
			if since != "" && !c.Flags().Changed("last") {
				q.Limit = admin.MostHistory
			}
			if len(args) == 1 {
				if q.ID, err = strconv.ParseInt(args[0], 10, 64); err != nil || q.ID < 1 {
					return usageError{fmt.Errorf("%.40q is no ID of a restart; %s history lists them", args[0], program)}
				}
			}
			if streams {
				if q.ID == 0 {
					return usageError{fmt.Errorf("of which restart? type: %s history --streams ID", program)}
				}
				return sayStreams(c, &t, q.ID, state, h)
			}
			restarts, err := readHistory(c, &t, q, state, h)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			switch {
			case q.ID != 0 && len(restarts) == 0:
				return fmt.Errorf("restart %d is not in the ledger; %s history %s lists those that are", q.ID, program, t.words())
			case t.json:
				return printJSON(out, admin.History{Restarts: restarts})
			case q.ID != 0:
				_, err = io.WriteString(out, explain(restarts[0], now))
			default:
				_, err = io.WriteString(out, table(restarts, now))
			}
			return err
		},
	}
	t.register(c)
	c.Flags().BoolVar(&streams, "streams", false, "say what restart ID did to single streams: those cut or in its way, and the longest held")
	c.Flags().IntVar(&q.Limit, "last", admin.DefaultHistory, "show so many at most")
	c.Flags().StringVar(&since, "since", "", "only what began since: a `TIME` ago as in 24h or 7d, or a date as in 2026-11-24")
	c.Flags().StringVar(&state, "state", "", "`DIR` of the ledger to read, and no sidecar is asked")
	return c
}

// readHistory asks the sidecar, or reads the ledger where none runs.
func readHistory(c *cobra.Command, t *target, q admin.HistoryQuery, state string, h config.Host) ([]admin.Past, error) {
	if state != "" {
		return daemon.History(state, q)
	}
	client, err := t.find(h)
	if err == nil {
		return client.History(c.Context(), q)
	}
	if none, ok := errors.AsType[admin.NotRunning](err); !ok || none.Forbidden() || t.control != "" {
		return nil, err
	}
	for _, dir := range config.StateDirs(t.name, h) {
		restarts, readErr := daemon.History(dir, q)
		if readErr == nil {
			fmt.Fprintf(c.ErrOrStderr(), "%s: no sidecar is running; this is the ledger in %s\n", program, dir)
			return restarts, nil
		}
		if !errors.Is(readErr, fs.ErrNotExist) {
			return nil, readErr
		}
	}
	return nil, err
}

// sinceOf reads --since.
func sinceOf(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 10_000 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("--since %.40q: write a time ago as in 24h or 7d, or a date as in 2026-11-24", text)
}

// table is one line a restart, and a second one that says why.
func table(restarts []admin.Past, now time.Time) string {
	if len(restarts) == 0 {
		return "no restart is recorded\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tWHEN\tREASON\tBY\tLIFE\tTOOK\tOPEN\tHELD\tLONGEST\tCUT\tRESULT\tWHY")
	for _, r := range restarts {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n",
			r.ID, clock(r.Began, now), r.Reason, cmp.Or(r.By, "-"), lives(r), spanMS(r.TookMS), r.Open, number(r.Held),
			spanMS(r.LongestHoldMS), number(r.Cut), r.Outcome, short(cmp.Or(r.Why, r.Error, "-")))
	}
	w.Flush()
	return b.String()
}

// lives are the life that was replaced, and the one that came.
func lives(r admin.Past) string {
	switch {
	case r.ToLife == 0:
		return fmt.Sprintf("%d", r.FromLife)
	case r.FromLife == 0:
		return fmt.Sprintf("-> %d", r.ToLife)
	}
	return fmt.Sprintf("%d -> %d", r.FromLife, r.ToLife)
}

// short is what fits at the end of a line.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	const most = 70
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}

// clock is a time as a person says it: with its date, unless that is today.
func clock(at, now time.Time) string {
	at = at.In(now.Location())
	switch {
	case at.Year() != now.Year():
		return at.Format("2006-01-02 15:04:05")
	case at.YearDay() != now.YearDay():
		return at.Format("Jan _2 15:04:05")
	}
	return at.Format("15:04:05")
}

// explain is all that is known of one restart.
func explain(r admin.Past, now time.Time) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n              ")
		fmt.Fprintf(&b, "  %-10s  %s\n", label, text)
	}
	fmt.Fprintf(&b, "restart %d: %s\n\n", r.ID, outcomeWords(r))
	line("began", "%s (%s ago), took %s", r.Began.In(now.Location()).Format("Mon 2006-01-02 15:04:05"), span(max(0, now.Sub(r.Began))), spanMS(r.TookMS))
	asked := r.Reason
	if r.By != "" {
		asked += ", asked for by " + r.By
	}
	if r.Joined > 0 {
		asked += fmt.Sprintf("; %s joined", count(int64(r.Joined), "more"))
	}
	line("reason", "%s", asked)
	if r.Why != "" {
		line("why", "%s", r.Why)
	}
	line("life", "%s, %s", lives(r), count(int64(r.Starts), "start"))
	line("phases", "%s", phaseWords(r.PhasesMS))
	line("streams", "%d open when it began, %s cut, %s refused", r.Open, number(r.Cut), number(r.Refused))
	line("held", "%s, the longest for %s", number(r.Held), spanMS(r.LongestHoldMS))
	line("gap", "%s at most between two pieces of an answer", spanMS(r.LongestGapMS))
	if r.Error != "" && r.Error != r.Why {
		line("remark", "%s", r.Error)
	}
	for _, m := range r.Memory {
		if graph := memoryGraph(fmt.Sprintf("GPU %d, MiB by the worker, the hour before", m.Index), m.Curve, 0, 0); graph != "" {
			b.WriteString("\n" + graph)
		}
	}
	return b.String()
}

func outcomeWords(r admin.Past) string {
	switch r.Outcome {
	case admin.Done:
		return fmt.Sprintf("done, life %d serves", r.ToLife)
	case admin.Postponed:
		return fmt.Sprintf("postponed, %s in the way", count(int64(r.InTheWay), "stream"))
	case admin.GivenUp:
		return "given up, no life would serve"
	case admin.Overtaken:
		return "overtaken"
	}
	return string(r.Outcome)
}

// phaseWords are the phases in the order in which a restart goes through them.
func phaseWords(took map[string]int64) string {
	order := []string{"serving", "draining", "stopping", "reclaiming", "down", "starting"}
	names := slices.SortedFunc(maps.Keys(took), func(a, b string) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a), slices.Index(order, b)), cmp.Compare(a, b))
	})
	var words []string
	for _, name := range names {
		words = append(words, name+" "+spanMS(took[name]))
	}
	return cmp.Or(strings.Join(words, ", "), "none took any time")
}
