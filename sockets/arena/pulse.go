package arena

import "sync/atomic"

// ProbeKind is a kind of question to the worker.
type ProbeKind uint8

// The kinds of probes.
const (
	ProbeTCP ProbeKind = iota
	ProbeHTTP
	ProbeExec
	ProbeGenerate
	ProbeKinds // how many
)

var probeKindNames = [ProbeKinds]string{ProbeTCP: "tcp", ProbeHTTP: "http", ProbeExec: "exec", ProbeGenerate: "generate"}

func (k ProbeKind) String() string { return probeKindNames[k] }

// ProbeKindOf returns the kind of a name.
func ProbeKindOf(name string) (ProbeKind, bool) {
	for k, n := range probeKindNames {
		if n == name {
			return ProbeKind(k), true
		}
	}
	return 0, false
}

// Pulse is what the judge of the worker's health has seen so far, by any runner. Written by the daemon's pulse alone.
type Pulse struct {
	Passed, Failed, Skipped [ProbeKinds]atomic.Int64          // questions, by the kind of probe
	Took                    [ProbeKinds]Histogram[FirstScale] // how long their answers took, time-outs included
	Refused                 atomic.Int64                      // connections that the worker didn't take

	// Verdicts against a life, whether or not a restart came of them, and those that were no verdict because streams
	// got bytes.
	Sick, Hung, Vetoed atomic.Int64

	// Fit has a bit for each probe, in the order of the settings, that has passed in the life FitLife. FitLife is 0 while
	// Fit is written.
	FitLife atomic.Int64
	Fit     atomic.Uint64
}

// Pulse returns the pulse's counters.
func (a *Arena) Pulse() *Pulse { return &a.header().pulse }
