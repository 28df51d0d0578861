package relay

import (
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
)

// Servers of models send the head of an event stream as soon as they have read the request, and its first event when the
// prompt was processed: after seconds, or a minute where others are before it. Such a bare head says nothing, but once a
// client has it as the head of that worker's answer, the stream can't go to another life. So it stays in the input, where it
// is nobody's yet. If the worker is lost now, nothing was heard of it.
//
// Some clients give up on a head that doesn't come. After bareTime they get it as that of an early answer (early.go): the
// stream can still go to another life, whose events follow.

// bareTime is how long that is at the most: shorter than what anybody waits for a head.
const bareTime = 3 * time.Second

// bareUntil is when the client of a bare head gets it: no later than it would get a heartbeat of a stream that has begun.
func (l *lane) bareUntil(c *conn) int64 {
	wait := bareTime
	if beat := l.relay.Heartbeat; beat > 0 {
		wait = min(wait, beat)
	}
	return c.bareSince + int64(wait)
}

// mayStayBare: this head is of a stream of events whose request may be given to a second life, and its client can tell a
// whole answer from one that breaks off. With GET people subscribe to events that may be rare: its head is news. And where the
// input is full of heads no event would find room.
func (c *conn) mayStayBare(q *http1.Response) bool {
	r := &c.r
	return c.slot.Noted.DownTaken-r.Down.InBase < arena.InSize && q.Status == 200 && q.EventStream && !q.Encoded && q.Framing == http1.FramingChunked &&
		(r.Has(arena.EarlyAnswer) || r.Minor >= 1 && r.Method == http1.MethodPost && r.Has(arena.Repeatable) && r.Has(arena.RequestDone) && c.copied())
}

// bare: all that has come of the answer is a head that may stay where it is.
func (c *conn) bare() bool {
	in := c.unjudgedDown()
	end, bad := http1.FindHeadEnd(in, 0)
	if bad != nil || end == 0 || end < len(in) || c.r.Has(arena.AnswerBegun) {
		return false
	}
	var q http1.Response
	return http1.ParseResponse(in, c.r.Method, &q) == nil && c.mayStayBare(&q)
}

// stayBare leaves a bare head (l.response) in the input, and when its time is over shows it to the client. It says whether
// anything moved.
func (l *lane) stayBare(c *conn, head []byte) (moved bool) {
	r, q := &c.r, &l.response
	if c.bareSince == 0 {
		c.bareSince = l.now
	}
	if r.Has(arena.EarlyAnswer) || l.now < l.bareUntil(c) {
		return false
	}
	r.Set(arena.EarlyAnswer)
	r.Clear(arena.KeepAlive)
	r.Framing, r.Status = http1.FramingChunked, int32(q.Status)
	c.sayHead(head, q, http1.ResponseEdit{RequestID: c.slot.ID.Value(), Framing: r.Framing, Close: true, ClientMinor: r.Minor})
	r.Down.Safe = r.Down.Out
	l.count.Early.Add(1)
	c.lastSent = l.now
	return true
}
