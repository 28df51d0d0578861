package daemon

import (
	"context"
	"time"

	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/ledger"
)

// checkState is how often it is looked whether restarts could be recorded now: who has to mend a disk wants to hear of it
// before the next restart.
const checkState = time.Minute

// journal is the ledger, and what became of the last attempt to write to it: said when that changes, shown by status, and
// counted. It is never a reason to do anything else.
type journal struct {
	*ledger.Ledger
	d *daemon
}

func newJournal(l *ledger.Ledger, d *daemon) *journal {
	if err := l.Check(); err != nil { // which the ledger has said
		why := err.Error()
		d.stateError.Store(&why)
		d.arena.Account().StateErrors.Add(1)
	}
	return &journal{l, d}
}

// Append implements supervisor.Journal.
func (j journal) Append(r supervisor.Restart) error {
	err := j.Ledger.Append(r)
	j.d.stateIs(err)
	return err
}

// watch looks now and then until ctx ends.
func (j journal) watch(ctx context.Context) {
	every := time.NewTicker(checkState)
	defer every.Stop()
	for {
		j.d.stateIs(j.Check())
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// stateIs takes the outcome of an attempt to keep something on disk.
func (d *daemon) stateIs(err error) {
	now := ""
	if err != nil {
		now = err.Error()
		d.arena.Account().StateErrors.Add(1)
	}
	before := d.stateError.Swap(&now)
	switch {
	case before == nil && err == nil || before != nil && *before == now:
	case err != nil:
		d.Log.Warn("restarts can't be recorded on disk for now", "directory", d.State, "error", now)
	default:
		d.Log.Info("restarts are recorded on disk again", "directory", d.State)
	}
}

// noState is why restarts can't be recorded, "" where they can or nobody has looked yet.
func (d *daemon) noState() string {
	if why := d.stateError.Load(); why != nil {
		return *why
	}
	return ""
}
