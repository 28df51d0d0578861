// Package admin is how people and programs speak with a running sidecar: an HTTP API with JSON on its control
// socket, the Go client of it, and two plain questions over TCP, /livez and /readyz. Whoever may open the socket may
// look; only root and the user that the sidecar runs as may act, and each action is logged with its uid. The API
// takes no command and no path: the worst that it can be talked into is a restart. A program, for an upgrade, comes as
// an open descriptor or is the one that lies where this one came from (passed.go).
//
// What is told and done lies behind Backend, which the daemon fills in.
package admin

import "context"

// Backend is the sidecar as this package sees it. Its methods are called from many goroutines.
type Backend interface {
	// Status returns a snapshot; it doesn't wait.
	Status() Status
	// Numbers returns a snapshot of all that is counted; it doesn't wait.
	Numbers() Numbers
	// Config returns the settings in force.
	Config() Config
	// Restart begins a restart of the worker, or joins the one under way, and returns at once. What it doesn't take
	// on gives a Refusal.
	Restart(ctx context.Context, r RestartRequest) (Restart, error)
	// Follow returns the restart as soon as its Revision is above after, or when ctx ends. An id that is not known
	// (any more) gives a Refusal with UnknownRestart.
	Follow(ctx context.Context, id, after int64) (Restart, error)
	// Upgrade finds out whether a program is fit to go on in the place of this one. If it is, begin makes it do so, which
	// ends this process; if not, that is a Refusal. The file stays the caller's.
	Upgrade(ctx context.Context, r UpgradeRequest) (u Upgrade, begin func(), err error)
	// Say carries out what an operator says, or gives a Refusal. It returns as soon as it is in force.
	Say(ctx context.Context, w Word) (Taken, error)
	// History returns restarts that have ended, newest first.
	History(ctx context.Context, q HistoryQuery) ([]Past, error)
	// Touched returns what a restart did to single streams, under way or ended. An id that is not known gives a Refusal
	// with UnknownRestart.
	Touched(ctx context.Context, id int64) (Touched, error)
}

// RestartRequest is what an operator may ask for.
type RestartRequest struct {
	Now bool   `json:"now"` // cut the streams that are open rather than wait for them
	By  string `json:"-"`   // who asks, as in "uid 0": from the socket, never from the request
}

// Refusal is the error of an action that was understood and isn't done. Its text says why and what to do instead.
type Refusal struct {
	Code    string `json:"code"` // for programs
	Message string `json:"message"`
}

func (r *Refusal) Error() string { return r.Message }

// The codes of refusals and of bad requests.
const (
	NoDriver         = "no_driver"       // the worker is somebody else's to restart
	Leaving          = "leaving"         // the sidecar itself is about to go
	FrozenNow        = "frozen"          // an operator froze it: that one's name, reason and time are in the message
	BarredNow        = "barred"          // no life may be started: why, and what to do, is in the message
	UnknownRestart   = "unknown_restart" // no such id
	NotPermitted     = "not_permitted"   // the peer of the socket may look and not act
	BadRequest       = "bad_request"     // the request itself is wrong
	NotFound         = "not_found"       // no such path
	MethodNotAllowed = "method_not_allowed"
	NoKeeper         = "no_keeper" // there is none, and without one no upgrade in place
	Unfit            = "unfit"     // the program can't go on in the place of this one
	Busy             = "busy"      // another upgrade is being looked at
	internalError    = "internal"
)
