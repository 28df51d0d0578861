package admin

import "time"

// Status is a snapshot of one sidecar. Its JSON names are kept from release to release; new ones may be added.
// A field that ends in _ms is a time in milliseconds.
type Status struct {
	Name      string    `json:"name"`
	Version   string    `json:"version"`
	Listen    string    `json:"listen"` // the first front's address as bound
	Fronts    []Front   `json:"fronts"` // all of them
	Keeper    int       `json:"keeper"` // PID; 0: there is no keeper, the sidecar won't survive its own death
	Runner    int       `json:"runner"` // PID
	Since     time.Time `json:"since"`  // of the keeper
	TakeOvers int64     `json:"take_overs"`
	Upgrades  Upgrades  `json:"upgrades"`

	Phase string `json:"phase"` // down, starting, serving, draining, stopping or reclaiming
	State string `json:"state"` // the machine's inner state, for developers
	// Ready reports whether a new stream will be answered: by the life that serves, or after a hold by one that
	// follows a life that served.
	Ready   bool    `json:"ready"`
	Halted  string  `json:"halted,omitempty"` // why it was given up; only restart goes on from here
	Barred  string  `json:"barred,omitempty"` // why no life may be started, whoever asks; one that serves goes on
	Life    int64   `json:"life"`
	Worker  Worker  `json:"worker"`
	Gate    Gate    `json:"gate"`
	Streams Streams `json:"streams"`
	Health  Health  `json:"health"`
	Mode    string  `json:"mode"` // act or observe
	// WouldRestart counts, by reason, the restarts that were decided on and withheld.
	WouldRestart map[string]int64 `json:"would_restart"`
	Frozen       *Frozen          `json:"frozen,omitempty"`  // an operator froze it
	Drained      *Standing        `json:"drained,omitempty"` // an operator has the gate hold
	Stopped      *Standing        `json:"stopped,omitempty"` // an operator stopped the worker, or it is on its way there
	Planned      *Planned         `json:"planned,omitempty"` // nil: there is nothing that could be planned

	GPUReader *GPUReader `json:"gpu_reader,omitempty"` // nil: nothing is to be read
	GPUs      []GPU      `json:"gpus,omitempty"`       // of the worker, by their index

	Restarts int64 `json:"restarts"` // that ended, since the keeper started
	// RestartOutcomes counts them by how they ended.
	RestartOutcomes map[Outcome]int64 `json:"restart_outcomes"`

	LastError   string    `json:"last_error"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// StateError is why restarts can't be recorded on disk, where they can't.
	StateError string `json:"state_error,omitempty"`
	Ahead      Ahead  `json:"ahead"` // what a restart would mean if it were asked for now
}

// Standing is an operator's standing word.
type Standing struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"` // as in "uid 0"
}

// Frozen is a freeze in force.
type Frozen struct {
	Standing
	Until time.Time `json:"until"`
	All   bool      `json:"all"` // a worker that crashes stays down, too
	Why   string    `json:"why"`
}

// Front is one address that clients connect to.
type Front struct {
	Listen      string `json:"listen"`      // the address as bound: HOST:PORT or unix:PATH
	Connections int    `json:"connections"` // of clients, idle ones too
	Open        int    `json:"open"`        // streams
}

// Worker is the worker of the current life.
type Worker struct {
	Driver   string    `json:"driver"` // child or none
	PID      int       `json:"pid"`    // 0: no process of ours
	Upstream string    `json:"upstream"`
	Since    time.Time `json:"since,omitzero"` // it began to serve
	// While no life serves:
	Progress  string    `json:"progress,omitempty"`  // of the life that starts: its latest sign
	NextStart time.Time `json:"next_start,omitzero"` // after a crash
	LastExit  string    `json:"last_exit"`           // of the life before, as in "life 2 exited 1 after 3 s"
}

// Health is how the worker is judged while it serves.
type Health struct {
	Verdict  string    `json:"verdict,omitempty"` // well, degraded, sick or hung; empty: no life is judged now
	Warnings []Warning `json:"warnings,omitempty"`
}

// Warning is one thing that is wrong with the worker.
type Warning struct {
	Code     string    `json:"code"`
	Title    string    `json:"title"`
	Severity string    `json:"severity"` // low, medium or high
	Since    time.Time `json:"since"`
	Text     string    `json:"text,omitempty"` // what was seen
}

// Gate is where streams enter.
type Gate struct {
	State         string `json:"state"` // open, holding, refusing (halted or stopped) or leaving
	InFlight      int    `json:"in_flight"`
	Held          int    `json:"held"`            // while no life serves, or since it didn't
	Queued        int    `json:"queued"`          // behind as many streams as the worker may have at once
	LongestHoldMS int64  `json:"longest_hold_ms"` // of all streams so far, those held now included
	HoldMS        int64  `json:"hold_ms"`         // a new stream waits so long at most; 0: it is refused at once
}

// Streams counts streams: the open ones, and those that ended since the keeper started.
type Streams struct {
	Open     int              `json:"open"`
	OldestMS int64            `json:"oldest_ms"`
	Outcomes map[string]int64 `json:"outcomes"` // by how they ended: complete, client_gone, refused, cut, ...
	Cuts     map[string]int64 `json:"cuts"`     // the cut ones by cause: crash, deadline, ...
}

// Ahead is what a restart means for streams, told before it begins.
type Ahead struct {
	Streams  int   `json:"streams"` // open now; they run to their end, or are cut if the restart is to be now
	OldestMS int64 `json:"oldest_ms"`
	DrainMS  int64 `json:"drain_ms"` // they are waited for that long at most
	StartMS  int64 `json:"start_ms"` // the worker's last start took that long; 0: not known
	WaitMS   int64 `json:"wait_ms"`  // about how long a new stream will wait
}

// AheadOf reckons what lies ahead of a restart. Nobody knows when an answer ends. The age of the oldest open stream
// tells how long answers take here, and one that has only just begun will need about that long: so long, at most the
// drain deadline, new streams will wait, and then for the worker's start.
func AheadOf(streams int, oldest, drain, start time.Duration) Ahead {
	wait := start
	if streams > 0 {
		wait += min(oldest, drain)
	}
	return Ahead{
		Streams:  streams,
		OldestMS: oldest.Milliseconds(),
		DrainMS:  drain.Milliseconds(),
		StartMS:  start.Milliseconds(),
		WaitMS:   wait.Milliseconds(),
	}
}

// Outcome is how a restart ended.
type Outcome string

// The outcomes of a restart. Under way it has none.
const (
	Done      Outcome = "done"      // a new life serves
	Postponed Outcome = "postponed" // streams were in the way at the drain deadline: the old life goes on
	GivenUp   Outcome = "given_up"  // halted: no new life would serve
	Overtaken Outcome = "overtaken" // the sidecar left, or somebody stopped the worker
)

// Restart is one restart of the worker, under way or ended. How it was asked for (Joined, Now, Ahead) is told by the
// answer to the one who asked, not by Follow; Client.Wait carries it on.
type Restart struct {
	ID       int64   `json:"id"`
	Revision int64   `json:"revision"` // goes up with each change
	Joined   bool    `json:"joined"`   // it was under way when it was asked for
	Now      bool    `json:"now"`
	Phase    string  `json:"phase"` // as in Status
	Outcome  Outcome `json:"outcome,omitempty"`
	Error    string  `json:"error,omitempty"` // why it is not done, or has not been so far
	FromLife int64   `json:"from_life"`
	ToLife   int64   `json:"to_life"` // 0: not started yet
	TookMS   int64   `json:"took_ms"` // so far

	Open          int   `json:"open"` // streams of the old life that still run
	OldestMS      int64 `json:"oldest_ms"`
	Held          int   `json:"held"`
	LongestHoldMS int64 `json:"longest_hold_ms"` // of this restart
	Cut           int64 `json:"cut"`

	Ahead    Ahead    `json:"ahead"`                // when it was asked for
	InTheWay []Stream `json:"in_the_way,omitempty"` // postponed: the streams that did not end in time, oldest first
}

// Ended reports whether nothing more will change.
func (r Restart) Ended() bool { return r.Outcome != "" }

// Stream is one open stream.
type Stream struct {
	ID        int64  `json:"id"`
	RequestID string `json:"request_id"`
	Client    string `json:"client"` // its address
	AgeMS     int64  `json:"age_ms"`
}
