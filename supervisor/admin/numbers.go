package admin

import "time"

// Numbers are a snapshot for who watches many sidecars: Status, and what is counted beside it. All counts are since the
// keeper started; a runner's death takes none of them back.
type Numbers struct {
	Status
	GoVersion   string
	RunnerSince time.Time
	Phases      []string // all that there are; Status has the one of now
	Leaving     bool

	Deaths     map[string]int64 // of runners, by kind
	TakenOver  TakenOver
	RestartsBy []RestartCount
	Would      map[string]int64 // as Status.WouldRestart, with those that are 0

	Verdicts      []string         // all that there are; Status has the one of now
	Condemnations map[string]int64 // by verdict
	Vetoed        int64
	Probes        []ProbeCount

	Begun                  int64 // streams
	Accepted, Shed, Paused int64 // connections; those closed for want of room; times that none was accepted
	TurnedAway             int64 // of addresses that had as many as they may
	Early, EarlyFailed     int64 // answers begun before the worker had said anything, and those of them that became an error
	Connections, Slots     int   // open now, and how many there may be
	Bytes                  map[string]int64
	Heartbeats, TooLong    int64
	Refusals               map[string]int64
	LaneBusy               []time.Duration
	LogLost                int64

	Retries, Uncopied          map[string]int64 // requests given again, by what was lost; those that can't be, by why
	CopyBytes, CopyLimit       int64
	Suspects                   int
	Condemned, SuspectsRefused int64
	Kept                       int // connections to the worker
	Opened, Reused             int64

	HoldWait, QueueWait, FirstByte, TokenGap, Connect Histogram

	ArenaSize, ArenaTouched int64 // bytes; 0: not known
	StateErrors, ClockJumps int64
}

// RestartCount is how many restarts of a reason ended so.
type RestartCount struct {
	Reason, Result string
	Restarts       int64
}

// ProbeCount is what came of the questions of one kind.
type ProbeCount struct {
	Kind                    string
	Passed, Failed, Skipped int64
	Took                    Histogram
}

// TakenOver is what take-overs found.
type TakenOver struct {
	Mended, Lost, Poisoned int64
	Bytes, Descriptors     map[string]int64
}

// Histogram counts times by their length.
type Histogram struct {
	Bounds []time.Duration // ascending
	Counts []int64         // up to each bound and above the one before; one more: beyond all
	Sum    time.Duration
}
