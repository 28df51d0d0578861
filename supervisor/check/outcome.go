package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Outcome is what became of one request, judged by its client from the bytes that it got and from nothing else.
type Outcome uint8

// The outcomes. Complete is the only good one but for Left, where the client itself went away on purpose.
const (
	Complete Outcome = iota // every byte is there, and the framing ended where the answer did
	Left                    // the client closed its connection on purpose
	Refused                 // no answer began: no connection, or a status that is neither 200 nor 502
	Cut                     // the answer ended before its end, loudly: an error event, a broken body, a reset, a 502, silence
	Corrupt                 // bytes are wrong, or a part of the answer was passed off as the whole; see Flaw
)

var outcomeNames = [...]string{Complete: "complete", Left: "left", Refused: "refused", Cut: "cut", Corrupt: "corrupt"}

func (o Outcome) String() string { return outcomeNames[o] }

// Flaw says in what way a Corrupt answer differs from what the worker must have written.
type Flaw uint8

// The flaws, named by what a relay would have done to cause them.
const (
	NoFlaw    Flaw = iota
	Lost           // bytes are missing in the middle
	Doubled        // bytes came twice, or more came than the answer holds
	Swapped        // two neighbours changed places
	Changed        // different bytes, for none of the reasons above
	Short          // a clean end before the end of the answer: the worst of all, since a client believes it
	Misframed      // the head or the chunked framing isn't valid HTTP
	Misplaced      // the answer is another request's
	TwoLives       // parts of one answer come from two lives of the worker
)

var flawNames = [...]string{
	NoFlaw: "", Lost: "lost", Doubled: "doubled", Swapped: "swapped", Changed: "changed",
	Short: "short", Misframed: "misframed", Misplaced: "misplaced", TwoLives: "two lives",
}

func (f Flaw) String() string { return flawNames[f] }

// Answer is one request's fate.
type Answer struct {
	Kind    Kind
	Outcome Outcome
	Flaw    Flaw   // set when Outcome is Corrupt
	Why     string // for people; empty when Outcome is Complete
	ID      string // the X-Request-Id that the client chose
	Nonce   string // of the life that answered; empty when none was seen

	Asked  time.Time     // when the request's first byte was written
	Wait   time.Duration // from then to the first byte of the answer, beyond the time that the worker takes; 0 = none came, or not known
	Took   time.Duration // from then to the end
	Gap    time.Duration // the longest pause between two tokens
	Tokens int           // events with text that came

	Comments int // frames that a relay put between events to keep the stream alive
}

// notes of a Tally: enough to see what goes wrong, not so many that a report is flooded.
const maxNotes = 12

// HeldFrom is the wait for the first byte from which a client says that it was held: far more than a prefill or a take-over
// takes, far less than a start of a worker.
const HeldFrom = 300 * time.Millisecond

// Tally counts answers. Its fields may be read by Counts only; mu guards everything that follows it.
type Tally struct {
	Gaps  Histogram // between two tokens of one stream
	First Histogram // from the request to the first byte of the answer, held streams excepted
	Holds Histogram // the same of the held ones

	mu       sync.Mutex
	outcomes [len(outcomeNames)]int64
	flaws    [len(flawNames)]int64
	kinds    [len(kindNames)]int64
	tokens   int64
	nonces   map[string]int64
	notes    []string
}

// Counts is a Tally at one moment.
type Counts struct {
	Complete, Left, Refused, Cut, Corrupt int64
	Flaws                                 map[string]int64 // of the corrupt ones, by name
	Kinds                                 map[string]int64 // answers of any outcome, by kind of client
	Held                                  int64            // answers whose first byte came HeldFrom or more after the request
	Tokens                                int64
	Nonces                                []string // of the lives that answered, in no order
	Notes                                 []string // what went wrong, the first few
}

// Total is all answers but those whose client left.
func (c Counts) Total() int64 { return c.Complete + c.Refused + c.Cut + c.Corrupt }

// Bad is how many answers were not whole, whatever the reason.
func (c Counts) Bad() int64 { return c.Refused + c.Cut + c.Corrupt }

// String is one line: every outcome, the flaws with names.
func (c Counts) String() string {
	s := fmt.Sprintf("complete %d  cut %d  refused %d  corrupt %d", c.Complete, c.Cut, c.Refused, c.Corrupt)
	if len(c.Flaws) > 0 {
		parts := make([]string, 0, len(c.Flaws))
		for _, name := range slices.Sorted(maps.Keys(c.Flaws)) {
			parts = append(parts, fmt.Sprintf("%s %d", name, c.Flaws[name]))
		}
		s += " (" + strings.Join(parts, ", ") + ")"
	}
	return s + fmt.Sprintf("  left %d  held %d", c.Left, c.Held)
}

// waited records, when an answer begins, how long its client waited for that.
func (t *Tally) waited(d time.Duration) {
	switch {
	case d >= HeldFrom:
		t.Holds.Record(d)
	case d > 0:
		t.First.Record(d)
	}
}

// Add counts one answer. Its wait and its gaps were recorded as they happened.
func (t *Tally) Add(a Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcomes[a.Outcome]++
	t.kinds[a.Kind]++
	if a.Outcome == Corrupt {
		t.flaws[a.Flaw]++
	}
	t.tokens += int64(a.Tokens)
	if a.Nonce != "" {
		if t.nonces == nil {
			t.nonces = map[string]int64{}
		}
		t.nonces[a.Nonce]++
	}
	if a.Outcome != Complete && a.Outcome != Left && len(t.notes) < maxNotes {
		t.notes = append(t.notes, a.note())
	}
}

// Counts is what was counted so far.
func (t *Tally) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := Counts{
		Complete: t.outcomes[Complete], Left: t.outcomes[Left], Refused: t.outcomes[Refused],
		Cut: t.outcomes[Cut], Corrupt: t.outcomes[Corrupt],
		Held: t.Holds.Count(), Tokens: t.tokens,
		Flaws: map[string]int64{}, Kinds: map[string]int64{},
		Nonces: slices.Collect(maps.Keys(t.nonces)), Notes: slices.Clone(t.notes),
	}
	for flaw, n := range t.flaws {
		if n > 0 {
			c.Flaws[flawNames[flaw]] = n
		}
	}
	for kind, n := range t.kinds {
		if n > 0 {
			c.Kinds[kindNames[kind]] = n
		}
	}
	return c
}

func (a Answer) note() string {
	what := a.Outcome.String()
	if a.Outcome == Corrupt {
		what += " (" + a.Flaw.String() + ")"
	}
	return fmt.Sprintf("%s %s after %v, %d tokens: %s [%s, life %s]",
		a.Kind, what, a.Took.Round(time.Millisecond), a.Tokens, a.Why, a.ID, cmp.Or(a.Nonce, "unknown"))
}
