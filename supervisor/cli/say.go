package cli

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/spf13/cobra"
)

// saying is one subcommand by which an operator says a word: what is told, and how it is waited for.
type saying struct {
	*cobra.Command
	target target
	wait   bool
	word   admin.Word

	// told is what the word has done, by what the sidecar was like before.
	told func(before admin.Status, taken admin.Taken) string
	// reached says that there is no more to wait for, and what there is to say of it. nil: there is nothing to wait for.
	reached func(s admin.Status, waited time.Duration) (done bool, words string, err error)
}

// said is what a saying prints as JSON.
type saidJSON struct {
	admin.Taken
	Status admin.Status `json:"status"` // once it was taken, or with --wait, at its end
}

// newSaying returns a subcommand without its words.
func newSaying(verb admin.Verb, short, long string, h config.Host) *saying {
	s := &saying{word: admin.Word{Verb: verb}}
	s.Command = &cobra.Command{
		Use: string(verb), Short: short, Long: long + "\n\n" + exitHelp, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return s.run(h) },
	}
	s.target.register(s.Command)
	return s
}

// mayWait adds --wait.
func (s *saying) mayWait(until string) {
	s.Flags().BoolVar(&s.wait, "wait", false, "show progress until "+until)
}

func (s *saying) run(h config.Host) error {
	client, err := s.target.find(h)
	if err != nil {
		return err
	}
	out, told := s.OutOrStdout(), s.OutOrStdout()
	if s.target.json {
		told = io.Discard
	}
	before, err := client.Status(s.Context())
	if err != nil {
		return err
	}
	taken, err := client.Say(s.Context(), s.word)
	if err != nil {
		return s.refused(err)
	}
	fmt.Fprintln(told, s.told(before, taken))
	var now admin.Status
	var verdict error
	if s.wait {
		now, verdict = s.follow(client, told)
		if now.Name == "" {
			return verdict
		}
	} else if now, err = client.Status(s.Context()); err != nil {
		return err
	}
	if s.target.json {
		if err := printJSON(out, saidJSON{Taken: taken, Status: now}); err != nil {
			return err
		}
	}
	return verdict
}

// refused adds what to type to what a sidecar refused.
func (s *saying) refused(err error) error { return withThaw(err, s.target.words()) }

// withThaw says how a freeze is taken back, of what was refused because of one.
func withThaw(err error, sidecar string) error {
	if r, ok := errors.AsType[*admin.Refusal](err); ok && r.Code == admin.FrozenNow {
		return fmt.Errorf("%w; to take that back: %s unfreeze %s", err, program, sidecar)
	}
	return err
}

const lookEvery = 200 * time.Millisecond

// follow shows progress until it is reached. Ctrl-C ends the watching and nothing else. A runner that is replaced meanwhile is
// waited for.
func (s *saying) follow(client *admin.Client, out io.Writer) (admin.Status, error) {
	ctx, stop := signal.NotifyContext(s.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p := line{w: out, redraw: isTerminal(out)}
	began, answered := time.Now(), time.Now()
	var last admin.Status
	for {
		now, err := client.Status(ctx)
		switch {
		case ctx.Err() != nil:
			p.clear()
			return last, fmt.Errorf("no longer watching; %s goes on", s.word.Verb)
		case err != nil && time.Since(answered) > patience:
			p.clear()
			return last, err
		case err == nil:
			last, answered = now, time.Now()
			done, words, err := s.reached(now, time.Since(began))
			if done || err != nil {
				p.clear()
				if err == nil {
					fmt.Fprintln(out, words)
				}
				return now, err
			}
			p.show(words, now.Phase)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// patience is for a sidecar that doesn't answer: a take-over lasts milliseconds.
const patience = 15 * time.Second

// line is drawn anew at a terminal; elsewhere it is a line for each phase.
type line struct {
	w      io.Writer
	redraw bool
	phase  string
}

func (l *line) show(words, phase string) {
	switch {
	case l.redraw:
		fmt.Fprint(l.w, "\r\x1b[K"+words)
	case phase != l.phase:
		fmt.Fprintln(l.w, words)
	}
	l.phase = phase
}

func (l *line) clear() {
	if l.redraw {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}

// openWords are the streams that are open.
func openWords(s admin.Status) string {
	if s.Gate.InFlight == 0 {
		return "no stream is open"
	}
	return fmt.Sprintf("%s open, the oldest for %s", count(int64(s.Gate.InFlight), "stream"), spanMS(s.Streams.OldestMS))
}

// heldNow are the streams that wait, and how long they may.
func heldNow(s admin.Status) string {
	words := fmt.Sprintf("%d held", s.Gate.Held)
	if s.Gate.HoldMS > 0 {
		words += fmt.Sprintf(" (each for at most %s)", spanMS(s.Gate.HoldMS))
	}
	return words
}
