package relay

import (
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/openai"
	"autoglm-sidecar/sockets/sse"
)

// believeAfter is how long an answer that ends with its connection waits for news of its life's death: a worker that
// dies closes its sockets first.
const believeAfter = 100 * time.Millisecond

// headRoom is what an edited answer's head may be longer than the worker's.
const headRoom = 1 << 10

// lapEvery is how often a unix socket's counter is looked after, in bytes taken.
const lapEvery = 1 << 28

// pumpDown moves the answer towards the client: read, judge and commit, send. A token takes one turn of it.
func (l *lane) pumpDown(c *conn) {
	for l.sendAnswer(c) {
		moved := l.judgeAnswer(c)
		if c.r.Phase != arena.Relay {
			return
		}
		if !moved && (!c.workerIn || !l.readWorker(c)) {
			return
		}
	}
}

// readWorker reads once from the worker. It says whether something came; where the worker has ended, it deals with it.
func (l *lane) readWorker(c *conn) bool {
	taken := c.slot.Noted.DownTaken
	if h := &c.r.Down; short(h, c.areas.DownIn, taken, headRead) && compactIn(h, c.areas.DownIn, taken, h.Judged) {
		l.commit(c)
	}
	free := c.areas.DownIn[taken-c.r.Down.InBase:]
	if len(free) == 0 { // full of a head, or of a trailer, without its end
		l.cut(c, arena.Malformed, "the worker's answer has a head that is too large")
		return false
	}
	n, e := l.k.Read(c.r.Worker, free)
	switch {
	case e == unix.EAGAIN:
		c.workerIn = false
		return false
	case e != 0:
		l.workerLost(c, arena.Crash, "the worker's connection broke")
		return false
	case n == 0:
		l.workerEnded(c)
		return false
	}
	c.workerIn = n == len(free)
	l.arena.Note(&c.slot.Noted.DownTaken, taken+int64(n))
	l.lap(c.worker(), taken, n)
	return true
}

// lap looks after the counter of a unix socket from which n more bytes were taken.
func (l *lane) lap(from kernel.Conn, taken int64, n int) {
	if from.PipeW >= 0 && taken/lapEvery != (taken+int64(n))/lapEvery {
		l.k.Lap(from.Socket)
	}
}

// sendAnswer gives the client what may be sent. It says whether all of it went.
func (l *lane) sendAnswer(c *conn) bool {
	h, n := &c.r.Down, &c.slot.Noted
	for c.toClient() > 0 {
		if !c.clientOut {
			return false
		}
		before := n.DownGiven
		switch e := l.give(c.client(), c.areas.DownOut[n.DownGiven-h.OutBase:h.Safe-h.OutBase], &n.DownGiven, &n.DownPiped); e {
		case 0:
			l.gave += n.DownGiven - before
			c.lastSent = l.now
			c.patience.blockedAt = 0
		case unix.EAGAIN:
			c.clientOut = false
			return false
		default:
			l.clientGone(c)
			return false
		}
	}
	return true
}

// judgeAnswer copies what the scanners take into the output, in our framing, and commits it. It says whether anything
// moved. A stream whose answer has come to its end leaves the phase.
func (l *lane) judgeAnswer(c *conn) (moved bool) {
	c.rewindDown()
	if compact(&c.r.Down, c.areas.DownOut, c.slot.Noted.DownGiven) {
		l.commit(c)
	}
	begun := c.r.Has(arena.AnswerBegun)
	for c.r.Phase == arena.Relay {
		var went bool
		if c.r.Has(arena.AnswerBegun) {
			went = l.answerBody(c)
		} else {
			went = l.answerHead(c)
		}
		if !went {
			break
		}
		moved = true
	}
	if c.told {
		l.heard(c)
	}
	if moved && c.r.Phase == arena.Relay {
		rewindIn(&c.r.Down, c.slot.Noted.DownTaken)
		l.commit(c)
		if c.r.Has(arena.AnswerBegun) {
			l.yield(c)
		}
		if c.idleRequest {
			c.idleRequest = false
			l.arena.WipeRequest(int(c.index)) // for minutes nobody needs it
		}
		if c.r.Has(arena.EventStream) {
			if begun {
				l.gap(l.now - c.lastToken)
			}
			c.lastToken = l.now
		}
	}
	return moved
}

// answerHead takes one head of the worker's, edited, where a whole one is there: the final one, or one before it (1xx).
func (l *lane) answerHead(c *conn) bool {
	in := c.unjudgedDown()
	if len(in) == 0 {
		return false
	}
	end, bad := http1.FindHeadEnd(in, c.scanned)
	if bad == nil && end == 0 {
		c.scanned = len(in)
		return false
	}
	if bad == nil {
		if len(c.roomDown()) < end+headRoom {
			c.scanned = 0
			return false // until the client has taken what is before it
		}
		bad = http1.ParseResponse(in[:end], c.r.Method, &l.response)
	}
	c.scanned = 0
	if bad != nil {
		l.cut(c, arena.Malformed, "the worker's answer is no HTTP: "+bad.Reason)
		return true
	}
	r, q := &c.r, &l.response
	if q.Status >= 200 && r.Has(arena.EarlyAnswer) {
		return l.splice(c, end, in[end:])
	}
	if end == len(in) && c.mayStayBare(q) {
		return l.stayBare(c, in)
	}
	r.Down.Judged += int64(end)
	if q.Status < 200 {
		if q.Status != 100 && r.Minor >= 1 && !r.Has(arena.EarlyAnswer) { // 100 is ours to say
			c.sayHead(in[:end], q, http1.ResponseEdit{RequestID: c.slot.ID.Value(), ClientMinor: r.Minor})
			r.Down.Safe = r.Down.Out
		}
		return true
	}
	l.beginAnswer(c, q)
	c.sayHead(in[:end], q, http1.ResponseEdit{
		RequestID: c.slot.ID.Value(), Framing: r.Framing, Length: q.Length, Close: !r.Has(arena.KeepAlive), ClientMinor: r.Minor,
	})
	r.Down.Safe = r.Down.Out
	return true
}

// beginAnswer decides how the answer's body is read, framed and judged.
func (l *lane) beginAnswer(c *conn, q *http1.Response) {
	r := &c.r
	r.Status = int32(q.Status)
	r.Framing = http1.FramingOut(r.Minor, r.Method, q)
	r.Answer = http1.NewBody(q.Framing, q.Length)
	r.Set(arena.AnswerBegun)
	if q.KeepAlive && q.Framing != http1.FramingClose {
		r.Set(arena.WorkerKeeps)
	}
	if r.Framing == http1.FramingClose || !r.Has(arena.RequestDone) || l.relay.Siblings && !l.gate.IsOpen() {
		r.Clear(arena.KeepAlive)
	}
	switch {
	case q.Encoded || q.Framing == http1.FramingClose:
		r.Set(arena.Opaque)
	case q.EventStream && r.Kind == openai.Unknown:
		r.Set(arena.Opaque)
	}
	if q.EventStream && !q.Encoded {
		r.Set(arena.EventStream)
		r.Events = sse.Scanner{}
		if r.Kind != openai.Unknown && q.Status == 200 {
			r.Clear(arena.Opaque)
			r.Set(arena.Judged)
			r.Dialect = openai.NewState(r.Kind)
		}
		c.idleRequest = r.Has(arena.RequestDone) && c.toWorker() == 0 && c.unjudged() == 0
	}
	c.lastSent, c.lastToken = l.now, l.now
	l.count.Firsts.Observe(l.now - r.Arrived)
}

// gap notes how long a client of an event stream has waited for its next piece.
func (l *lane) gap(ns int64) {
	arena.Max(&l.count.LongestGap, ns)
	l.count.Gaps.Observe(ns)
}

func (c *conn) sayHead(head []byte, q *http1.Response, e http1.ResponseEdit) {
	room := c.roomDown()
	edited := http1.AppendResponse(room[:0], head, q, e)
	if len(edited) > len(room) {
		panic("relay: an answer's edited head is longer than its room")
	}
	c.r.Down.Out += int64(len(edited))
}

// answerBody takes one piece of the answer's body. It says whether anything moved.
func (l *lane) answerBody(c *conn) bool {
	r := &c.r
	room := len(c.roomDown()) - 2*chunkWaste
	if room <= 0 {
		if r.Down.Safe < r.Down.Out && c.toClient() == 0 { // an event longer than all the room there is
			l.makeOpaque(c)
			return true
		}
		return false
	}
	in, before := c.unjudgedDown(), r.Answer
	used, piece, bad := r.Answer.Next(in[:min(len(in), room)])
	if bad != nil {
		l.cut(c, arena.Malformed, "the worker's answer is no HTTP: "+bad.Reason)
		return true
	}
	r.Down.Judged += int64(used)
	switch piece.Kind {
	case http1.Data:
		data := in[piece.From:piece.To]
		if !r.Has(arena.EventStream) {
			c.told = c.told || len(data) > 0
			c.sayData(data)
			r.Down.Safe = r.Down.Out
			break
		}
		if left := len(data) - l.takeEvents(c, data); left > 0 && r.Phase == arena.Relay {
			r.Down.Judged -= int64(used)
			r.Answer = before
			used, _, _ = r.Answer.Next(in[:piece.To-left])
			r.Down.Judged += int64(used)
			return used > 0
		}
	case http1.Trailer:
		if r.Framing == http1.FramingChunked {
			l.endEvents(c)
			c.sayLast()
			c.say(in[piece.From:piece.To]) // not safe before the end is judged
		}
	case http1.End:
		l.endEvents(c)
		if r.Phase == arena.Relay {
			l.finish(c)
		}
	case http1.More:
		return used > 0
	}
	return true
}

// sayData appends payload in the client's framing.
func (c *conn) sayData(b []byte) {
	switch {
	case len(b) == 0:
	case c.r.Framing == http1.FramingChunked:
		c.sayChunk(b)
	case c.r.Framing != http1.FramingNone:
		c.say(b)
	}
}

func (c *conn) sayChunkSize(n int) {
	c.r.Down.Out += int64(len(http1.AppendChunkSize(c.roomDown()[:0], n)))
}

// sayLast appends the last chunk, once.
func (c *conn) sayLast() {
	if !c.r.Has(arena.LastChunkDown) {
		c.r.Set(arena.LastChunkDown)
		c.sayString(http1.LastChunk)
	}
}
