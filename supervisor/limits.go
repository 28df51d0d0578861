package supervisor

import (
	"errors"
	"fmt"
	"time"
)

// Limits are how long the machine waits for what, and how often it tries.
type Limits struct {
	Drain          time.Duration // for the streams in the way of a restart
	HastyDrain     time.Duration // likewise, where waiting on may cost them all; at most Drain
	StartDeadline  time.Duration // for a worker that shows no progress before it is ready; each progress begins it anew
	StopGrace      time.Duration // from TERM to KILL
	CutPatience    time.Duration // for streams that were cut to be gone, before their worker is stopped
	KillPatience   time.Duration // from KILL until the main process is seen to be gone
	ReclaimTime    time.Duration // for the rest of a life to end; then it is killed (again), and after as long, given up
	MemoryTime     time.Duration // from the end of a life until its memory is free; then the machine is halted
	FindPatience   time.Duration // for the driver to say whether a life is alive, asked again every FindRetry
	FindRetry      time.Duration
	BackoffMin     time.Duration // before a start after one crash; doubles with each crash in a row
	BackoffMax     time.Duration
	Stable         time.Duration // a life that served for so long ends a row of crashes
	CrashesPerHour int           // one more and it is halted; at most MaxCrashes - 1
}

// DefaultLimits are those that hold where a person said nothing else.
func DefaultLimits() Limits {
	return Limits{
		Drain:          2 * time.Minute,
		HastyDrain:     15 * time.Second,
		StartDeadline:  15 * time.Minute,
		StopGrace:      30 * time.Second,
		CutPatience:    2 * time.Second,
		KillPatience:   10 * time.Second,
		ReclaimTime:    15 * time.Second,
		MemoryTime:     2 * time.Minute,
		FindPatience:   30 * time.Second,
		FindRetry:      time.Second,
		BackoffMin:     time.Second,
		BackoffMax:     30 * time.Second,
		Stable:         time.Minute,
		CrashesPerHour: 20,
	}
}

// Check says everything that is wrong with the limits.
func (l Limits) Check() error {
	var problems []error
	for _, must := range []struct {
		name string
		is   time.Duration
	}{
		{"start deadline", l.StartDeadline},
		{"stop grace", l.StopGrace},
		{"cut patience", l.CutPatience},
		{"kill patience", l.KillPatience},
		{"reclaim time", l.ReclaimTime},
		{"memory time", l.MemoryTime},
		{"find patience", l.FindPatience},
		{"find retry", l.FindRetry},
		{"backoff min", l.BackoffMin},
	} {
		if must.is <= 0 {
			problems = append(problems, fmt.Errorf("%s is %v: it must be more than 0", must.name, must.is))
		}
	}
	if l.HastyDrain < 0 {
		problems = append(problems, fmt.Errorf("hasty drain is %v: it must not be negative", l.HastyDrain))
	}
	if l.Drain < 0 {
		problems = append(problems, fmt.Errorf("drain is %v: it must not be negative", l.Drain))
	}
	if l.BackoffMax < l.BackoffMin {
		problems = append(problems, fmt.Errorf("backoff max is %v: it must be at least backoff min, %v", l.BackoffMax, l.BackoffMin))
	}
	if l.CrashesPerHour < 1 || l.CrashesPerHour >= MaxCrashes {
		problems = append(problems, fmt.Errorf("crashes per hour is %d: it must be 1 to %d", l.CrashesPerHour, MaxCrashes-1))
	}
	return errors.Join(problems...)
}
