package relay

import (
	"fmt"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/openai"
)

// An early answer is begun in the worker's place, while the request still waits: many clients give up on an answer whose
// head doesn't come, and none on one that has begun and says something now and then. What is promised by it can't be taken
// back, so it is only begun where the client has asked for an event stream beyond doubt, and while no life had the
// request: its body is read to its end and judged (openai.Wish). From then on it is a stream like others but for its head.
// When the worker answers with events, they follow ours. Anything else becomes one event that says so, and an end that
// is none.

// ahead is how far a stream that waits has come with that. It is found again after a death.
type ahead uint8

const (
	aheadLater   ahead = iota // its time hasn't come
	aheadReading              // the body is read
	aheadNever                // or it has been begun
)

// earlyAt is when something of it is due while the stream waits, 0 for never.
func (l *lane) earlyAt(c *conn) int64 {
	switch {
	case c.r.Has(arena.EarlyAnswer):
		return after(max(c.lastSent, c.lastBeat), l.relay.Heartbeat)
	case c.ahead == aheadLater && c.r.Kind != openai.Unknown && c.r.Lives == 0:
		return after(c.r.Arrived, l.relay.Fronts[c.r.Front].EarlyAfter)
	}
	return 0
}

// lookAhead begins to read the body of a request that has waited long enough, if it may be one for an event stream.
func (l *lane) lookAhead(c *conn) {
	c.ahead = aheadNever
	if l.headAgain(c); l.mayBegin(c, &l.request) {
		c.ahead, c.bodyEnd = aheadReading, c.r.HeadAt+int64(c.r.HeadLen)+l.request.Length
		c.clientIn = true // perhaps it is there
	}
}

// mayBegin: of a client of HTTP/1.0 nobody knows whether it would see a broken end; one that expects a 100 gets it when the
// worker is there; a browser's page needs the worker's word on who may read the answer; and the body has to fit into the copy.
func (l *lane) mayBegin(c *conn, q *http1.Request) bool {
	return c.r.Minor >= 1 && q.Framing == http1.FramingLength && !q.ExpectContinue && !q.Origin &&
		int64(c.r.HeadLen)+q.Length <= l.relay.Replay.PerRequest
}

// readAhead reads a body as it comes, and begins the answer when all of it was read and says so.
func (l *lane) readAhead(c *conn) {
	for c.ahead == aheadReading {
		l.judgeWish(c)
		switch left := c.bodyEnd - c.slot.Noted.UpTaken; {
		case c.r.Wish.Never():
			c.ahead = aheadNever
		case c.bodyEnd == c.r.HeadAt+int64(c.r.HeadLen)+c.r.Wish.Read:
			c.ahead = aheadNever
			if c.r.Wish.Streams() {
				l.beginEarly(c)
			}
		case !c.clientIn:
			return
		case !l.readClient(c, int(min(left, arena.InSize))):
			if c.r.Phase != arena.Held {
				return // its client is gone
			}
			if c.clientIn { // there is no more room for it
				c.ahead = aheadNever
			}
		}
	}
}

// judgeWish reads on in what has come of the body.
func (l *lane) judgeWish(c *conn) {
	from := c.r.HeadAt + int64(c.r.HeadLen)
	end := min(c.bodyEnd, c.slot.Noted.UpTaken)
	at := from + c.r.Wish.Read
	if at >= end {
		return
	}
	for at < end {
		in := l.input(c, at)
		in = in[:min(int64(len(in)), end-at)]
		c.r.Wish.Next(in)
		at += int64(len(in))
	}
	l.commit(c)
}

// beginEarly answers. The connection ends after it: this head stands, whatever becomes of the rest.
func (l *lane) beginEarly(c *conn) {
	r := &c.r
	r.Set(arena.EarlyAnswer)
	r.Clear(arena.KeepAlive)
	r.Framing, r.Status = http1.FramingChunked, 200
	rewind(&r.Down, c.slot.Noted.DownGiven)
	c.say(fmt.Appendf(l.scratch[:0], "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"+
		"X-Request-Id: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", c.slot.ID.Value()))
	r.Down.Safe = r.Down.Out
	l.count.Early.Add(1)
	l.commit(c)
	c.lastSent = l.now
}

// early: the answer was begun, and not by the worker.
func (c *conn) early() bool { return c.r.Has(arena.EarlyAnswer) && !c.r.Has(arena.AnswerBegun) }

// mostError is how much of a worker's error is looked at for its message.
const mostError = 16 << 10

// splice goes on with an early answer: head is the worker's (l.response), and body what has come behind it. Its events follow
// ours, and its head is not sent. It says whether anything moved.
func (l *lane) splice(c *conn, head int, body []byte) bool {
	r, q := &c.r, &l.response
	if q.Status == 200 && q.EventStream && !q.Encoded && http1.FramingOut(r.Minor, r.Method, q) == http1.FramingChunked {
		if len(body) == 0 && c.mayStayBare(q) {
			return false
		}
		r.Down.Judged += int64(head)
		l.beginAnswer(c, q)
		return true
	}
	said, whole := payload(q, body)
	if !whole && len(body) < mostError {
		return false // until the rest has come; it stays in the input, and is judged anew
	}
	l.endEarly(c, said)
	return true
}

// spliceEnded is for a worker that has ended. It says whether there was an answer that can be told.
func (l *lane) spliceEnded(c *conn) bool {
	in := c.unjudgedDown()
	head, bad := http1.FindHeadEnd(in, 0)
	if !c.early() || c.bare() || bad != nil || head == 0 || http1.ParseResponse(in[:head], c.r.Method, &l.response) != nil || l.response.Status < 200 {
		return false
	}
	said, _ := payload(&l.response, in[head:])
	l.endEarly(c, said)
	return true
}

// payload is what a body holds, as far as it is there.
func payload(q *http1.Response, in []byte) (said []byte, whole bool) {
	body := http1.NewBody(q.Framing, q.Length)
	for {
		used, piece, bad := body.Next(in)
		switch {
		case bad != nil, piece.Kind == http1.End:
			return said, true
		case piece.Kind == http1.Data:
			said = append(said, in[piece.From:piece.To]...)
		case piece.Kind == http1.More && used == 0:
			return said, false
		}
		in = in[used:]
	}
}

// endEarly ends an early answer whose worker has answered something else (l.response) than events.
func (l *lane) endEarly(c *conn, said []byte) {
	why := openai.BodyMessage(said)
	if why == "" {
		why = "it gave no reason"
	}
	l.makeRoomForError(c)
	c.r.Outcome = arena.WorkerError
	l.sayEarlyError(c, "worker_error", fmt.Sprintf("the worker answered with status %d: %s", l.response.Status, why))
	l.end(c)
}

// sayEarlyError is an error of ours, where the answer has begun already: an event, and no last chunk.
func (l *lane) sayEarlyError(c *conn, code, why string) {
	l.count.EarlyFailed.Add(1)
	c.r.Down.Out = c.r.Down.Safe
	l.scratch = openai.AppendErrorEvent(l.scratch[:0], code, why)
	if len(c.roomDown()) >= len(l.scratch)+chunkWaste {
		c.sayData(l.scratch)
	}
}
