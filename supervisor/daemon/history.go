package daemon

import (
	"context"
	"time"

	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/ledger"
)

// History implements admin.Backend.
func (b backend) History(_ context.Context, q admin.HistoryQuery) ([]admin.Past, error) {
	if b.journal == nil { // somebody else's worker: there is none
		return []admin.Past{}, nil
	}
	return pick(q, b.journal.History)
}

// History reads the ledger in a directory while no sidecar runs.
func History(dir string, q admin.HistoryQuery) ([]admin.Past, error) {
	return pick(q, func(n int) ([]ledger.Entry, error) { return ledger.Read(dir, n) })
}

// pick reads no more of a ledger than it must.
func pick(q admin.HistoryQuery, read func(n int) ([]ledger.Entry, error)) ([]admin.Past, error) {
	n := 0
	if q.ID == 0 {
		n = q.Most()
	}
	restarts, err := read(n)
	if err != nil {
		return nil, err
	}
	all := make([]admin.Past, len(restarts))
	for i, e := range restarts {
		all[i] = past(e.Restart)
		all[i].Memory = remembered(e.Memory)
	}
	return q.Pick(all), nil
}

// remembered is the memory of a life in admin's words.
func remembered(curves []ledger.Curve) (all []admin.GPUMemory) {
	const mib = 1 << 20
	for _, c := range curves {
		m := admin.GPUMemory{Index: c.Index, UUID: c.GPU, Curve: []admin.CurvePoint{}}
		for _, p := range c.Minutes {
			m.Curve = append(m.Curve, admin.CurvePoint{MinutesAgo: int(-p.Minute), FloorBytes: p.FloorMiB * mib, HighestBytes: p.HighestMiB * mib})
		}
		all = append(all, m)
	}
	return all
}

// past is a restart in admin's words.
func past(r supervisor.Restart) admin.Past {
	p := admin.Past{
		ID: r.ID, Reason: r.Reason.String(), By: r.By, Why: r.Why, Began: r.Begun, TookMS: r.Took.Milliseconds(),
		Outcome: outcomes[r.Result], Error: r.Detail, FromLife: int64(r.From), ToLife: int64(r.To), Starts: r.Starts, Joined: r.Joined,
		PhasesMS: map[string]int64{},
		Open:     r.Open, InTheWay: r.InTheWay, Held: r.Held, LongestHoldMS: r.LongestHold.Milliseconds(),
		LongestGapMS: r.LongestGap.Milliseconds(), Cut: r.Cut, Refused: r.Refused,
	}
	for phase, d := range r.Spent {
		if d >= time.Millisecond {
			p.PhasesMS[supervisor.Phase(phase).String()] = d.Milliseconds()
		}
	}
	return p
}
