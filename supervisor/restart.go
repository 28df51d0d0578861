package supervisor

import (
	"encoding/json"
	"fmt"
	"time"

	"autoglm-sidecar/health"
)

// Restart is one replacement of a life, under way or ended: enough to explain it a week later. A restart begins when it is
// asked for, or at a crash, and ends when a life serves, however many starts that takes.
//
// Inside the machine the times are those of Clock and what the relay counts is not known; Supervisor adds Begun and the Tally
// to what it gives out.
type Restart struct {
	ID       int64         `json:"id"` // 0: none
	Revision int64         `json:"revision"`
	Reason   health.Reason `json:"reason"`
	By       string        `json:"by,omitempty"`  // who asked, as in "uid 0"
	Why      string        `json:"why,omitempty"` // what was seen, in one line
	From     Life          `json:"from"`          // the life replaced; 0: there was none
	To       Life          `json:"to"`            // the last that was started for it; 0: none yet
	Starts   int           `json:"starts"`        // lives started for it; more than one: the others failed
	Joined   int           `json:"joined"`        // others that asked for it while it was under way
	Begun    time.Time     `json:"begun,omitzero"`
	Asked    time.Duration `json:"-"`        // when, by Clock
	Took     time.Duration `json:"took_ns"`  // in all, once it has ended
	Spent    Spent         `json:"spent_ns"` // on each phase
	Open     int           `json:"open"`     // streams in flight when the gate began to hold
	InTheWay int           `json:"in_the_way,omitempty"`
	Result   Result        `json:"result"`
	Detail   string        `json:"detail,omitempty"` // why it is no better; at a crash, with the worker's last lines
	Tally
}

// Tally is what the relay counted since a restart began.
type Tally struct {
	Cut         int64         `json:"cut"`             // streams that ended before their answer
	Held        int64         `json:"held"`            // streams that waited, those that still do included
	Refused     int64         `json:"refused"`         // streams turned away
	LongestHold time.Duration `json:"longest_hold_ns"` // of them; of one that still waits, so far
	LongestGap  time.Duration `json:"longest_gap_ns"`  // between two pieces of an answer, of the streams that were open
}

// Result is how a restart ended.
type Result uint8

const (
	Underway  Result = iota
	Done             // a new life serves
	Postponed        // streams were in the way at the drain deadline: the old life goes on
	GivenUp          // halted: no life would serve
	Overtaken        // a person stopped or froze the worker, or the sidecar left
)

const numResults = int(Overtaken) + 1

var resultNames = [numResults]string{Underway: "underway", Done: "done", Postponed: "postponed", GivenUp: "given_up", Overtaken: "overtaken"}

// String gives the result's name.
func (r Result) String() string { return nameOf(resultNames[:], uint8(r)) }

// MarshalText gives the result's name.
func (r Result) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText takes a name that MarshalText gave.
func (r *Result) UnmarshalText(text []byte) error { return pickName(resultNames[:], text, r) }

// Counts are how many restarts have ended, by their reason and result.
type Counts [health.NumReasons][numResults]uint32

// Of counts those that ended so, whatever their reason.
func (c *Counts) Of(result Result) (n int64) {
	for _, of := range c {
		n += int64(of[result])
	}
	return n
}

// All counts all of them.
func (c *Counts) All() (n int64) {
	for _, of := range c {
		for _, m := range of {
			n += int64(m)
		}
	}
	return n
}

// Spent is how long a restart spent on each phase. In JSON it is an object with the phases that took any time.
type Spent [numPhases]time.Duration

// MarshalJSON gives the phases that took time, by their names, in nanoseconds.
func (s Spent) MarshalJSON() ([]byte, error) {
	named := map[Phase]time.Duration{}
	for phase, d := range s {
		if d != 0 {
			named[Phase(phase)] = d
		}
	}
	return json.Marshal(named)
}

// UnmarshalJSON takes what MarshalJSON gave.
func (s *Spent) UnmarshalJSON(b []byte) error {
	var named map[Phase]time.Duration
	if err := json.Unmarshal(b, &named); err != nil {
		return err
	}
	*s = Spent{}
	for phase, d := range named {
		s[phase] = d
	}
	return nil
}

// Change is something that happened to the life, for people: the state is another, or a restart has ended, or something went
// wrong without either.
type Change struct {
	At       time.Time
	Life     Life
	From, To State   // alike if the state is the same
	Restart  Restart // under way, or the one that ended; ID 0: none
	Ended    bool    // Restart has ended. A runner that takes over may say so again
	Why      string  // the last error, where this change brought a new one, or who had to be killed in Reclaiming

	Spent      time.Duration // in From, where To is another
	Unrecorded bool          // Restart could not be kept: Why
	Withheld   Withheld      // Restart was decided on and is not carried out; its ID is 0
	Thawed     bool          // a freeze has ended by itself
}

func nameOf(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

func pickName[T ~uint8](names []string, text []byte, into *T) error {
	for i, name := range names {
		if name == string(text) {
			*into = T(i)
			return nil
		}
	}
	return fmt.Errorf("unknown name %q", text)
}
