package relay

import (
	"time"

	"autoglm-sidecar/sockets/arena"
)

// wipeTime is how long a connection is idle before the memory of its last exchange is given back.
const wipeTime = 2 * time.Second

// schedule asks the wheel to look at the connection when its phase's time is over.
func (l *lane) schedule(c *conn) {
	at := sooner(l.deadline(c), c.patienceEnds(&l.relay.Limits))
	if at != 0 && (c.timerAt == 0 || at < c.timerAt) {
		c.timerAt = at
		l.wheel.Schedule(c.key(), at)
	}
}

// deadline is when something of the phase is due if nothing happens, 0 for never.
func (l *lane) deadline(c *conn) int64 {
	m := &l.relay.Limits
	switch c.r.Phase {
	case arena.Head:
		switch {
		case !c.idle():
			return after(c.since, m.HeadTime)
		case c.worn:
			return sooner(after(c.since, wipeTime), after(c.since, m.Idle))
		default:
			return after(c.since, m.Idle)
		}
	case arena.Held:
		return sooner(sooner(c.retryAt, c.r.HoldUntil), l.earlyAt(c))
	case arena.Relay:
		switch {
		case !c.connected:
			return c.since + int64(connectTime)
		case c.judgeAt != 0:
			return c.judgeAt
		case c.bareSince != 0 && !c.r.Has(arena.AnswerBegun|arena.EarlyAnswer):
			return l.bareUntil(c)
		case c.r.Has(arena.EventStream | arena.EarlyAnswer):
			return after(max(c.lastSent, c.lastBeat), l.relay.Heartbeat)
		}
	case arena.Linger:
		return c.closeAt
	case arena.Flush, arena.Ended:
	}
	return 0
}

// after is the end of a time that began at since, 0 (never) where the time has no bound.
func after(since int64, time time.Duration) int64 {
	if time == 0 {
		return 0
	}
	return since + int64(time)
}

// due does what the time asks for, if it still does.
func (l *lane) due(c *conn) {
	at := l.deadline(c)
	switch {
	case l.impatient(c):
		l.work(c)
		return
	case at == 0 || at > l.now:
		l.schedule(c)
		return
	}
	switch c.r.Phase {
	case arena.Head:
		if idle := l.relay.Limits.Idle; c.idle() && idle > 0 && c.since+int64(idle) <= l.now {
			l.release(c)
			return
		}
		if c.idle() {
			l.arena.Wipe(int(c.index))
			c.worn = false
			l.schedule(c)
			return
		}
		l.arrive(c)
		l.refuse(c, 408, "head_timeout", "the request's head took too long")
	case arena.Held:
		switch {
		case c.r.HoldUntil <= l.now:
			l.holdOver(c)
		case c.retryAt != 0 && c.retryAt <= l.now:
			l.again(c)
		case c.r.Has(arena.EarlyAnswer):
			l.heartbeat(c)
		default:
			l.lookAhead(c)
		}
	case arena.Relay:
		switch {
		case !c.connected:
			l.unreachable(c, c.r.Life)
		case c.judgeAt != 0:
			c.judgeAt = 0
			l.believeEnd(c)
		case c.r.Has(arena.EventStream | arena.EarlyAnswer):
			l.heartbeat(c)
		}
	case arena.Linger:
		l.release(c)
		return
	case arena.Flush, arena.Ended:
	}
	l.work(c)
}
