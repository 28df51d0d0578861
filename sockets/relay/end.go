package relay

import (
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/openai"
)

const (
	// lingerTime is how long a client that was answered may go on sending at the most, lingerIdle how long it may stay
	// silent: closing with unread bytes would send an RST, which takes the answer out of the client's own buffer.
	lingerTime, lingerIdle = 30 * time.Second, 2 * time.Second
	// retryAfter is what clients are told to wait. The openai clients take no notice above 60.
	retryAfter = 5
)

// finish ends an answer whose last byte has come from the worker: the dialect judges whether that was the end.
func (l *lane) finish(c *conn) {
	r := &c.r
	r.Outcome = arena.Complete
	switch {
	case r.Has(arena.Judged):
		switch r.Dialect.End() {
		case openai.Complete:
		case openai.Unjudged:
			r.Outcome = arena.Unjudged
		case openai.Truncated, openai.Aborted, openai.Failed: // the latter two were cut at their event
			l.cut(c, arena.Truncated, "")
			return
		}
	case r.Status >= 500:
		r.Outcome = arena.WorkerError
	case r.Has(arena.Opaque):
		r.Outcome = arena.Unjudged
	}
	if r.Framing == http1.FramingChunked {
		c.sayLast()
		c.sayString("\r\n")
	}
	l.keepWorker(c)
	l.end(c)
}

// end leaves the life: what is left to do is between us and the client.
func (l *lane) end(c *conn) {
	r := &c.r
	if r.Phase == arena.Relay {
		c.leave()
	}
	r.Down.Safe = r.Down.Out
	r.Phase = arena.Flush
	c.since = l.now
	l.commit(c)
	l.yield(c)
}

// workerEnded: the worker has sent its FIN.
func (l *lane) workerEnded(c *conn) {
	c.workerIn = false
	if l.spliceEnded(c) {
		return
	}
	if !c.r.Has(arena.AnswerBegun) || !c.r.Answer.AtClose() || c.lifeGone {
		l.workerLost(c, arena.Crash, "the worker closed its connection before the end of its answer")
		return
	}
	c.judgeAt = l.now + int64(believeAfter)
}

// believeEnd takes a FIN for the end of an answer that has no other.
func (l *lane) believeEnd(c *conn) {
	l.endEvents(c)
	if c.r.Phase == arena.Relay {
		l.finish(c)
	}
}

// cut ends an answer that can't be whole so that nobody takes it for whole: by an error of its own where none of it
// was sent, else by an error event where it has events, and by breaking off its framing.
func (l *lane) cut(c *conn, cause arena.Cause, why string) {
	r := &c.r
	if why == "" {
		why = causeTexts[cause]
	}
	r.Outcome, r.Cause = arena.Cut, cause
	l.blameRestart(c)
	if cause == arena.NoCause { // the client's own doing
		r.Outcome = arena.ClientGone
	}
	r.Clear(arena.KeepAlive)
	if r.Down.Out > r.Down.Safe { // the beginning of an event is no event; what is written over it must be nobody's
		r.Down.Out = r.Down.Safe
		l.commit(c)
	}
	l.makeRoomForError(c)
	if !r.Has(arena.AnswerBegun) {
		l.answerError(c, http.StatusBadGateway, "worker_failed", why)
		l.end(c)
		return
	}
	if r.Has(arena.EventStream) {
		l.scratch = openai.AppendErrorEvent(l.scratch[:0], "worker_failed", why)
		if len(c.roomDown()) >= len(l.scratch)+chunkWaste {
			c.sayData(l.scratch)
		}
	}
	if r.Framing == http1.FramingClose {
		r.Set(arena.Reset) // nothing but an RST tells it from the end
	}
	l.end(c)
}

// blameRestart notes the restart under way, if there is one, as what ended the stream.
func (l *lane) blameRestart(c *conn) {
	if restart := l.arena.Mark().Underway(); restart != 0 {
		c.slot.Story.Restart = restart
	}
}

// causeTexts are what a client is told.
var causeTexts = map[arena.Cause]string{
	arena.Crash:      "the worker died in the middle of this answer",
	arena.Deadline:   "the worker is being stopped",
	arena.Operator:   "the worker is being stopped",
	arena.Abort:      "the worker gave this answer up",
	arena.ErrorEvent: "the worker failed in the middle of this answer",
	arena.Truncated:  "the worker ended this answer before its end",
	arena.Suspect:    "the worker died twice while it was at this request",
}

// refuse answers in the worker's place, and closes.
func (l *lane) refuse(c *conn, status int, code, why string) {
	l.count.Refusals[arena.RefusalOf(code)].Add(1)
	l.makeRoomForError(c)
	c.r.Outcome = arena.Refused
	c.r.Clear(arena.KeepAlive)
	l.answerError(c, status, code, why)
	l.end(c)
}

// makeRoomForError puts what the client hasn't taken yet where there is room behind it. It may commit, so nothing may be
// decided yet that a stream which goes on can't have.
func (l *lane) makeRoomForError(c *conn) {
	rewind(&c.r.Down, c.slot.Noted.DownGiven)
	if compact(&c.r.Down, c.areas.DownOut, c.slot.Noted.DownGiven) {
		l.commit(c)
	}
}

// answerError appends a whole answer of ours. A 503 may be tried again: the request may go to another sidecar. What two
// lives were lost with may not. Of all else the client knows best what a second time would do.
func (l *lane) answerError(c *conn, status int, code, why string) {
	if c.early() {
		l.sayEarlyError(c, code, why)
		return
	}
	l.scratch = openai.AppendErrorBody(l.scratch[:0], code, why)
	c.r.Status = int32(status)
	c.r.Down.Out = c.r.Down.Safe
	room := c.roomDown()
	head := fmt.Appendf(room[:0], "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nX-Request-Id: %s\r\n",
		status, http.StatusText(status), len(l.scratch), c.slot.ID.Value())
	switch {
	case status == http.StatusServiceUnavailable:
		head = fmt.Appendf(head, "Retry-After: %d\r\nx-should-retry: true\r\n", retryAfter)
	case status == http.StatusBadGateway && c.r.Lives >= maxLives, code == suspectedCode:
		head = append(head, "x-should-retry: false\r\n"...)
	}
	head = append(head, "Connection: close\r\n\r\n"...)
	if c.r.Method != http1.MethodHead {
		head = append(head, l.scratch...)
	}
	if len(head) > len(room) {
		panic("relay: an error of ours is longer than its room")
	}
	c.r.Down.Out += int64(len(head))
}

// flush gives the client the rest of its answer, and counts how the stream ended.
func (l *lane) flush(c *conn) bool {
	if !l.sendAnswer(c) {
		return false
	}
	l.record(c)
	r := &c.r
	switch {
	case r.Has(arena.KeepAlive):
		l.next(c)
	case r.Has(arena.Reset):
		l.k.Reset(r.Client)
		l.release(c)
	default:
		l.k.HalfClose(r.Client)
		r.Phase = arena.Linger
		c.since = l.now
		c.closeAt = l.now + int64(lingerIdle)
		c.clientIn = true
		l.commit(c)
	}
	return true
}

// next begins to wait for the next request; what was read ahead stays where it is.
func (l *lane) next(c *conn) {
	r := &c.r
	r.Phase, r.Flags = arena.Head, 0
	rewindIn(&r.Up, c.slot.Noted.UpTaken)
	compactIn(&r.Up, c.areas.UpIn, c.slot.Noted.UpTaken, r.Up.Judged) // so that any head finds room behind it
	rewind(&r.Down, c.slot.Noted.DownGiven)
	c.since, c.scanned = l.now, 0
	l.commit(c)
}

// linger reads and drops until the client has closed.
func (l *lane) linger(c *conn) bool {
	for c.clientIn {
		n, e := l.k.Read(c.r.Client, c.areas.UpIn)
		switch {
		case e == unix.EAGAIN:
			c.clientIn = false
		case e != 0 || n == 0:
			l.release(c)
			return false
		default:
			c.closeAt = min(l.now+int64(lingerIdle), c.since+int64(lingerTime))
		}
	}
	return false
}

// clientGone: nobody is there to be answered.
func (l *lane) clientGone(c *conn) { l.clientEnds(c, arena.ClientGone) }

// clientEnds ends a connection for the client's sake. The worker's side is closed at once, so that it stops computing.
func (l *lane) clientEnds(c *conn, how arena.Outcome) {
	switch c.r.Phase {
	case arena.Held:
		l.withdraw(c) // or its grant is in the mail, and will find it gone
		l.waitEnded(c)
		fallthrough
	case arena.Relay, arena.Flush:
		if c.r.Outcome != arena.Cut { // what was cut stays so, whether or not its client waited for the news
			c.r.Outcome, c.r.Cause = how, arena.NoCause
		}
		l.record(c)
	case arena.Head, arena.Linger, arena.Ended:
	}
	l.release(c)
}
