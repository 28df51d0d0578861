package health

import "fmt"

// Reason is why a restart is asked for. The zero value means that none was asked for.
type Reason uint8

const (
	NoReason       Reason = iota
	Operator              // a person asked
	Config                // the worker's command or environment was changed
	MemoryForecast        // its GPU memory will be full, in hours
	MemoryLimit           // its GPU memory is full in all but name
	Unhealthy             // probes fail and nothing progresses
	Hung                  // streams are open and none gets a byte
	Crashed               // its main process ended by itself
	GPUFault              // the GPU reported a fault that only a restart clears
	Age                   // it has run for as long as it may
)

// NumReasons is how many there are, NoReason included.
const NumReasons = int(Age) + 1

// reasonNames are the words that people, metrics and the ledger see.
var reasonNames = [NumReasons]string{
	NoReason:       "",
	Operator:       "operator",
	Config:         "config",
	MemoryForecast: "memory_forecast",
	MemoryLimit:    "memory_limit",
	Unhealthy:      "unhealthy",
	Hung:           "hung",
	Crashed:        "crashed",
	GPUFault:       "gpu_fault",
	Age:            "age",
}

// String gives the reason's name; NoReason's is empty.
func (r Reason) String() string {
	if int(r) < NumReasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// ByHand says that a person wished it: such a restart may end a halt and an operator's own stop, no other may.
func (r Reason) ByHand() bool { return r == Operator }

// MayCut says that waiting on costs clients more than cutting them: when the drain deadline of such a restart has passed,
// the streams still in its way are cut. For any other reason the restart is postponed instead.
func (r Reason) MayCut() bool {
	switch r {
	case MemoryLimit, Unhealthy, Hung, GPUFault:
		return true
	case NoReason, Operator, Config, MemoryForecast, Crashed, Age:
		return false
	}
	return false
}

// MarshalText gives the reason's name, so that JSON shows a word and not a number.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText takes a name that MarshalText gave.
func (r *Reason) UnmarshalText(text []byte) error {
	for i, name := range reasonNames {
		if name == string(text) {
			*r = Reason(i)
			return nil
		}
	}
	return fmt.Errorf("unknown reason %q", text)
}
