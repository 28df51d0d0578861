package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"autoglm-sidecar/supervisor/check"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Step is one thing that was done.
type Step struct {
	Name   string `json:"name"`
	Open   int    `json:"open"` // streams of 5 s or more that were open when it was done
	Held   int64  `json:"held"` // that came meanwhile and waited, then began
	TookMS int64  `json:"took_ms"`
	What   string `json:"what"`
}

// Result is what the clients counted.
type Result struct {
	Passed       bool     `json:"passed"`
	Streams      int64    `json:"streams"` // all answers
	Completed    int64    `json:"completed"`
	Cut          int64    `json:"cut"`
	Corrupt      int64    `json:"corrupt"` // not byte-exact, or of two lives
	Refused      int64    `json:"refused"`
	Held         int64    `json:"held"`
	Tokens       int64    `json:"tokens"`
	Lives        int      `json:"lives"` // nonces seen
	Restarts     int      `json:"restarts"`
	SidecarKills int      `json:"sidecar_kills"`
	Upgrades     int      `json:"upgrades"`
	Leaks        int      `json:"leaks"` // foreseen
	LongestHold  int64    `json:"longest_hold_ms"`
	LongestGap   int64    `json:"longest_token_gap_ms"`
	TookMS       int64    `json:"took_ms"`
	Steps        []Step   `json:"steps"`
	Failures     []string `json:"failures,omitempty"`
}

// count takes over what the clients saw, and judges it.
func (r *Result) count(load *check.Load, took time.Duration) {
	c := load.Tally.Counts()
	r.Streams, r.Completed, r.Cut, r.Corrupt, r.Refused = c.Total(), c.Complete, c.Cut, c.Corrupt, c.Refused
	r.Held, r.Tokens, r.Lives = c.Held, c.Tokens, len(c.Nonces)
	r.LongestHold, r.LongestGap = load.Tally.Holds.Max().Milliseconds(), load.Tally.Gaps.Max().Milliseconds()
	r.TookMS = took.Milliseconds()
	r.judge(c.Notes)
}

// judge says what is wrong; notes are of answers that were not whole.
func (r *Result) judge(notes []string) {
	require := func(ok bool, format string, args ...any) {
		if !ok {
			r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
		}
	}
	require(r.Completed > 0, "no answer came")
	require(r.Cut == 0, "%d answers were cut", r.Cut)
	require(r.Corrupt == 0, "%d answers were not what the worker wrote", r.Corrupt)
	require(r.Refused == 0, "%d requests were refused", r.Refused)
	require(r.Held > 0, "no stream was held")
	require(r.Lives == r.Restarts+1, "%d lives of the worker answered, %d restarts make %d", r.Lives, r.Restarts, r.Restarts+1)
	r.Passed = len(r.Failures) == 0
	if !r.Passed {
		r.Failures = slices.Concat(r.Failures, notes)
	}
}

func (r *Result) failure() error {
	var all []error
	for _, f := range r.Failures {
		all = append(all, errors.New(f))
	}
	return errors.Join(all...)
}

// line is the one for machines that read lines.
func (r *Result) line() string {
	return fmt.Sprintf("RESULT streams=%d completed=%d cut=%d held=%d refused=%d restarts=%d sidecar_kills=%d upgrades=%d leaks=%d longest_hold_ms=%d longest_token_gap_ms=%d",
		r.Streams, r.Completed, r.Cut, r.Held, r.Refused, r.Restarts, r.SidecarKills, r.Upgrades, r.Leaks, r.LongestHold, r.LongestGap)
}

func (r *Result) writeJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	if err := out.Encode(r); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// write prints a table for people, and the line.
func (r *Result) write(w io.Writer) error {
	t := table.NewWriter()
	style := table.StyleRounded
	style.Format.Header, style.Format.Footer = text.FormatDefault, text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(table.Row{"step", "streams open", "held", "took", "what happened"})
	for _, s := range r.Steps {
		t.AppendRow(table.Row{s.Name, s.Open, s.Held, fmt.Sprintf("%.1f s", float64(s.TookMS)/1000), s.What})
	}
	t.AppendFooter(table.Row{
		"all", "", r.Held, fmt.Sprintf("%.1f s", float64(r.TookMS)/1000),
		fmt.Sprintf("%d answers: %d whole, %d cut, %d refused, %d corrupt", r.Streams, r.Completed, r.Cut, r.Refused, r.Corrupt),
	})
	if _, err := fmt.Fprintf(w, "\n%s\n%s\n", t.Render(), r.line()); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}
