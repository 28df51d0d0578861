package relay

import (
	"time"

	"autoglm-sidecar/sockets/arena"
)

// wipeTime is how long a connection is idle before the memory of its last exchange is given back.
const wipeTime = 2 * time.Second

// schedule asks the wheel to look at the connection when its phase's time is over.
func (l *lane) schedule(c *conn) {
	at := c.deadline(int64(l.relay.Heartbeat))
	if at != 0 && (c.timerAt == 0 || at < c.timerAt) {
		c.timerAt = at
		l.wheel.Schedule(c.key(), at)
	}
}

// deadline is when something is due if nothing happens, 0 for never.
func (c *conn) deadline(heartbeat int64) int64 {
	switch c.r.Phase {
	case arena.Head:
		switch {
		case !c.idle():
			return c.since + int64(headTime)
		case c.worn:
			return c.since + int64(wipeTime)
		}
	case arena.Held:
		if c.retryAt != 0 {
			return min(c.retryAt, c.r.HoldUntil)
		}
		return c.r.HoldUntil
	case arena.Relay:
		switch {
		case !c.connected:
			return c.since + int64(connectTime)
		case c.judgeAt != 0:
			return c.judgeAt
		case heartbeat > 0 && c.r.Has(arena.EventStream):
			return max(c.lastSent, c.lastBeat) + heartbeat
		}
	case arena.Linger:
		return c.closeAt
	case arena.Flush, arena.Ended:
	}
	return 0
}

// due does what the time asks for, if it still does.
func (l *lane) due(c *conn) {
	at := c.deadline(int64(l.relay.Heartbeat))
	switch {
	case at == 0:
		return
	case at > l.now:
		l.schedule(c)
		return
	}
	switch c.r.Phase {
	case arena.Head:
		if c.idle() {
			l.arena.Wipe(int(c.index))
			c.worn = false
			return
		}
		l.arrive(c)
		l.refuse(c, 408, "head_timeout", "the request's head took too long")
	case arena.Held:
		if c.r.HoldUntil <= l.now {
			l.holdOver(c)
		} else {
			l.again(c)
		}
	case arena.Relay:
		switch {
		case !c.connected:
			l.unreachable(c, c.r.Life)
		case c.judgeAt != 0:
			c.judgeAt = 0
			l.believeEnd(c)
		default:
			l.heartbeat(c)
		}
	case arena.Linger:
		l.release(c)
		return
	case arena.Flush, arena.Ended:
	}
	l.work(c)
}
