package ledger

import (
	"encoding/json"

	"autoglm-sidecar/supervisor"
)

// Entry is one restart as it is kept: its account, and what nobody could find out any more when it is over.
type Entry struct {
	supervisor.Restart

	Memory []Curve `json:"memory,omitempty"` // of the life that was replaced, a curve for each of its GPUs; nil: not known
}

// Curve is the memory of a life on one GPU in the hour before it was replaced.
type Curve struct {
	GPU     string  `json:"gpu"`   // UUID
	Index   int     `json:"index"` // as it was then
	Minutes []Point `json:"minutes"`
}

// Point is one minute of a curve. It is written as [minute, floor, highest], so that 60 of them for each of many GPUs don't push the
// restarts of a month out of the ledger.
type Point struct {
	Minute     int64 // before the restart: negative, or 0
	FloorMiB   int64 // the least that the worker used in it
	HighestMiB int64 // the most
}

// MarshalJSON writes the point.
func (p Point) MarshalJSON() ([]byte, error) {
	return json.Marshal([3]int64{p.Minute, p.FloorMiB, p.HighestMiB})
}

// UnmarshalJSON reads it.
func (p *Point) UnmarshalJSON(text []byte) error {
	var three [3]int64
	if err := json.Unmarshal(text, &three); err != nil {
		return err
	}
	*p = Point{three[0], three[1], three[2]}
	return nil
}

// What is kept at most with one restart. A machine has up to 16 GPUs; the line of a restart stays below 64 KiB with all of them, which
// Check wants to be free. mostName is far above any UUID.
const (
	mostGPUs    = 16
	mostMinutes = 60
	mostName    = 64
)

// entry is what is kept of a restart.
func (l *Ledger) entry(r supervisor.Restart) Entry {
	e := Entry{Restart: r}
	if l.Memory == nil || r.From == 0 {
		return e
	}
	for _, c := range l.Memory(r.From) {
		if len(c.Minutes) == 0 {
			continue
		}
		if len(e.Memory) == mostGPUs {
			break
		}
		c.GPU = c.GPU[:min(len(c.GPU), mostName)]
		c.Minutes = c.Minutes[max(0, len(c.Minutes)-mostMinutes):]
		e.Memory = append(e.Memory, c)
	}
	return e
}
