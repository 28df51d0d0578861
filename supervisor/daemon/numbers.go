package daemon

import (
	"runtime"
	"time"

	"autoglm-sidecar/health"
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/keeper"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
)

// Numbers implements admin.Backend.
func (b backend) Numbers() admin.Numbers {
	status, life, traffic := b.snapshot()
	measures, account, pulse := b.relay.Measures(), b.arena.Account(), b.arena.Pulse()
	n := admin.Numbers{
		Status: status, GoVersion: runtime.Version(), RunnerSince: runnerSince, Phases: phases, Leaving: traffic.Gate.State == gate.Leaving,
		Deaths: deathsOf(account), RestartsBy: restartsOf(life.Counts), Would: map[string]int64{},
		Verdicts: verdicts, Condemnations: map[string]int64{health.Sick.String(): pulse.Sick.Load(), health.Stuck.String(): pulse.Hung.Load()},
		Vetoed: pulse.Vetoed.Load(), Probes: probesOf(pulse),
		Connections: traffic.Connections, Slots: b.arena.Slots(),
		Begun: traffic.Counts.Streams, Accepted: traffic.Counts.Accepted, Shed: traffic.Counts.Shed, Paused: traffic.Counts.Stalled,
		Heartbeats: traffic.Counts.Heartbeats, TooLong: measures.TooLong, Refusals: measures.Refusals,
		Bytes:    map[string]int64{"from_clients": measures.UpBytes, "to_clients": measures.DownBytes},
		LaneBusy: measures.Busy, LogLost: measures.LogLost,
		TurnedAway: measures.TurnedAway, Early: measures.Early, EarlyFailed: measures.EarlyFailed,
		Retries: traffic.Counts.Retries, Uncopied: traffic.Counts.Uncopied, CopyBytes: traffic.CopyBytes, CopyLimit: traffic.CopyMost,
		Suspects: traffic.Suspects, Condemned: traffic.Counts.Condemned, SuspectsRefused: traffic.Counts.SuspectsRefused,
		Kept: traffic.Kept, Opened: traffic.Counts.Opened, Reused: traffic.Counts.Reused,
		HoldWait: histogram(measures.Holds), QueueWait: histogram(measures.Queued), FirstByte: histogram(measures.Firsts),
		TokenGap: histogram(measures.Gaps), Connect: histogram(measures.Connects),
		ArenaSize: b.arena.Size(), ArenaTouched: b.arena.Touched(),
		StateErrors: account.StateErrors.Load(), ClockJumps: account.ClockJumps.Load(),
	}
	found := traffic.Counts.TakeOver
	n.TakenOver = admin.TakenOver{
		Mended: found.Mended, Lost: found.Impossible, Poisoned: found.Poisoned,
		Bytes: map[string]int64{
			"taken_not_noted": found.Untaken, "given_not_noted": found.Ungiven, "read_not_judged": found.Unjudged, "judged_not_sent": found.Unsent,
		},
		Descriptors: map[string]int64{"taken_in": found.Adopted, "closed": found.Orphans},
	}
	for _, reason := range reasons {
		n.Would[reason.String()] = status.WouldRestart[reason.String()]
	}
	return n
}

// runnerSince is when this process began.
var runnerSince = time.Now()

// phases are all of a life's, in people's words.
var phases = func() (names []string) {
	for _, phase := range supervisor.Phases() {
		names = append(names, phase.String())
	}
	return names
}()

// reasons are all for which a worker is restarted.
var reasons = func() (all []health.Reason) {
	for reason := health.NoReason + 1; int(reason) < health.NumReasons; reason++ {
		all = append(all, reason)
	}
	return all
}()

// verdicts are all that may be thought of a worker.
var verdicts = []string{health.Well.String(), health.Degraded.String(), health.Sick.String(), health.Stuck.String()}

func probesOf(p *arena.Pulse) (all []admin.ProbeCount) {
	for kind := range arena.ProbeKinds {
		var took arena.Distribution
		p.Took[kind].AddTo(&took)
		all = append(all, admin.ProbeCount{
			Kind: kind.String(), Passed: p.Passed[kind].Load(), Failed: p.Failed[kind].Load(), Skipped: p.Skipped[kind].Load(), Took: histogram(took),
		})
	}
	return all
}

// results are all that a restart can have.
var results = []supervisor.Result{supervisor.Done, supervisor.Postponed, supervisor.GivenUp, supervisor.Overtaken}

func restartsOf(counts supervisor.Counts) (all []admin.RestartCount) {
	for _, reason := range reasons {
		for _, result := range results {
			all = append(all, admin.RestartCount{Reason: reason.String(), Result: result.String(), Restarts: int64(counts[reason][result])})
		}
	}
	return all
}

// countDeaths takes over what the keeper has noted of deaths since the runner before looked. The keeper's ring forgets.
func countDeaths(a *arena.Account, p *keeper.Page) {
	last, seen := p.LastDeaths(), a.DeathsSeen.Load()
	fresh := last[len(last)-int(min(p.Noted-seen, uint64(len(last)))):]
	for _, d := range fresh {
		a.Deaths[d.Kind()].Add(1)
	}
	a.DeathsSeen.Store(p.Noted)
}

var _ [len(arena.Account{}.Deaths) - keeper.NumKinds]byte

func deathsOf(a *arena.Account) map[string]int64 {
	counts := map[string]int64{}
	for kind := range keeper.NumKinds {
		counts[keeper.Kind(kind).String()] = a.Deaths[kind].Load()
	}
	return counts
}

func histogram(d arena.Distribution) admin.Histogram {
	h := admin.Histogram{Counts: d.Counts, Sum: time.Duration(d.Sum)}
	for _, bound := range d.Bounds {
		h.Bounds = append(h.Bounds, time.Duration(bound))
	}
	return h
}
