package relay

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/openai"
)

const (
	// headRead is how much is read at once while a head is expected. Small, so that what is read beyond it is small,
	// and the next head finds room behind it without a move that a death could tear.
	headRead = arena.InSize - http1.MaxHead
	// connectTime is how long a worker's address may stay silent.
	connectTime = 10 * time.Second
	// retryFirst and retryMost bound the pause before a stream whose connection failed tries again.
	retryFirst, retryMost = 50 * time.Millisecond, time.Second
)

var query = []byte("?") // begins what no log is to know

// readHead reads a request's head and asks the gate. It says whether the phase has changed.
func (l *lane) readHead(c *conn) bool {
	most := l.relay.Limits.HeadSize
	for {
		if head := l.unjudgedUp(c); len(head) > 0 {
			end, bad := http1.FindHeadEnd(head, c.scanned)
			switch {
			case bad == nil && (end > most || end == 0 && len(head) >= most):
				l.arrive(c)
				l.refuse(c, 431, "head_too_large", "the request's head is too large")
				return true
			case bad != nil:
				l.refuseHead(c, bad)
				return true
			case end > 0:
				l.enter(c, head[:end])
				return true
			}
			c.scanned = len(head)
		}
		if !c.clientIn {
			return false
		}
		if !l.readClient(c, headRead) {
			return c.r.Phase != arena.Head
		}
	}
}

// readClient reads once from the client, at most limit bytes. It says whether something came; where the client has
// ended, it ends the connection.
func (l *lane) readClient(c *conn, limit int) bool {
	h, taken := &c.r.Up, c.slot.Noted.UpTaken
	if c.r.Phase == arena.Held {
		l.makeRoom(c, taken) // all of it goes to the copy
	} else {
		l.makeRoom(c, h.Judged)
	}
	free := c.areas.UpIn[taken-h.InBase:]
	if len(free) == 0 {
		if c.r.Phase == arena.Head {
			l.arrive(c)
			l.refuse(c, 431, "head_too_large", "the request's head is too large")
		}
		return false
	}
	limit = min(limit, len(free))
	n, e := l.k.Read(c.r.Client, free[:limit])
	switch {
	case e == unix.EAGAIN:
		c.clientIn = false
		return false
	case e != 0 || n == 0:
		l.clientGone(c)
		return false
	}
	c.clientIn = n == limit // after a short read there is no more: epoll will say
	if c.r.Phase == arena.Head && taken == h.Judged {
		c.since = l.now // the head's time begins with its first byte
	}
	l.arena.Note(&c.slot.Noted.UpTaken, taken+int64(n))
	l.took += int64(n)
	l.fed(c, n)
	l.lap(c.client(), taken, n)
	return true
}

// refuseHead answers a head that is no HTTP.
func (l *lane) refuseHead(c *conn, bad *http1.Malformed) {
	l.arrive(c)
	l.refuse(c, bad.Status, "malformed_request", bad.Reason)
}

// arrive begins a stream whose head (or what should have been one) is there.
func (l *lane) arrive(c *conn) {
	l.count.Streams.Add(1)
	c.worn = true
	r := &c.r
	r.Arrived, r.Life, r.Flags, r.Outcome, r.Cause, r.Status = l.now, 0, 0, arena.Pending, arena.NoCause, 0
	r.HeadAt, r.HeadLen, r.Minor, r.Method, r.Kind = r.Up.Judged, 0, 1, http1.MethodOther, openai.Unknown
	r.Lives, r.Crashes, r.LostOn, r.Kept = 0, 0, 0, 0
	r.Wish, c.ahead = openai.Wish{}, aheadLater
	c.retries = 0
	c.patience = patience{credit: l.relay.Limits.grace()}
	c.slot.Story = arena.Story{GivenAt: c.slot.Noted.DownGiven}
	l.name(c, nil)
}

// enter parses a whole head and takes the stream to the gate.
func (l *lane) enter(c *conn, head []byte) {
	l.arrive(c)
	r, q := &c.r, &l.request
	if bad := http1.ParseRequest(head, q); bad != nil {
		l.refuse(c, bad.Status, "malformed_request", bad.Reason)
		return
	}
	r.HeadLen, r.Method, r.Minor = int32(len(head)), q.Method, q.Minor
	target := q.Target.Of(head)
	path, _, _ := bytes.Cut(target, query)
	c.slot.Story.Route.Set(q.MethodName.Of(head), path)
	r.Kind = openai.KindOf(q.MethodName.Of(head), target)
	l.name(c, q.RequestID.Of(head))
	if q.KeepAlive {
		r.Set(arena.KeepAlive)
	}
	if l.relay.Replay.repeatable(q.Method, target) {
		r.Set(arena.Repeatable)
	}
	if q.Upgrade || q.Method == http1.MethodConnect {
		l.refuse(c, 501, "not_supported", "CONNECT and protocol upgrades are not relayed")
		return
	}
	if q.Framing == http1.FramingNone && l.condemned(c) {
		return
	}
	verdict, life := l.gate.Enter(l.ticket(c))
	if verdict == gate.Pass {
		l.begin(c, head, life)
		return
	}
	l.wait(c, verdict)
}

// name gives the stream its request id: the client's own, or a new one.
func (l *lane) name(c *conn, given []byte) {
	if len(given) > 0 && len(given) <= len(c.slot.ID.Bytes) {
		c.slot.ID.Set(given)
		return
	}
	var random [12]byte
	rand.Read(random[:])
	id := hex.AppendEncode([]byte("req-"), random[:])
	c.slot.ID.Set(id)
}

// wait follows a verdict that isn't Pass.
func (l *lane) wait(c *conn, verdict gate.Verdict) {
	switch verdict {
	case gate.Held, gate.Queued:
		l.beginWait(c, verdict)
		c.r.Phase = arena.Held
		l.waits(c)
		l.commit(c)
	case gate.Full:
		l.refuse(c, 503, "worker_unavailable", fullTexts[l.gate.Stats().State == gate.Open][l.relay.Hold == 0])
	default:
		l.refuse(c, 503, "worker_unavailable", l.gate.Stats().Reason)
	}
}

// fullTexts are what a client is told for whom there is no place to wait: whether the gate is open, whether anybody waits.
var fullTexts = map[bool]map[bool]string{
	false: {
		false: "the worker is not serving now, and as many requests as may wait for it do",
		true:  "the worker is not serving now, and requests don't wait for it here",
	},
	true: {
		false: "the worker has as many requests as it may have at once, and as many as may wait for their turn do",
		true:  "the worker has as many requests as it may have at once, and requests don't wait for it here",
	},
}

// beginWait notes that a stream has to wait, and what for, the first time.
func (l *lane) beginWait(c *conn, verdict gate.Verdict) {
	if c.r.Has(arena.Waited) {
		return
	}
	c.r.Set(arena.Waited)
	c.r.HoldUntil = l.now + int64(l.relay.Hold)
	if verdict == gate.Queued {
		c.r.Set(arena.Queued)
		return
	}
	l.count.Waited.Add(1)
}

// waits begins a wait, or another one.
func (l *lane) waits(c *conn) {
	c.since = l.now
	c.slot.Story.WaitSince = l.now
}

// granted takes what the gate has posted to a stream that waited.
func (l *lane) granted(g gate.Grant) {
	c := l.conns[g.Slot]
	if c == nil || c.r.Phase != arena.Held || c.r.Arrived != g.Arrived {
		if g.Verdict == gate.Pass {
			l.gate.Exit(g.Life) // its client left meanwhile
		}
		return
	}
	switch {
	case g.Verdict == gate.Pass && c.r.Crashes > 0 && !c.turn: // it became a suspect meanwhile
		l.gate.Exit(g.Life)
		l.goToGate(c)
	case g.Verdict == gate.Pass:
		l.waitEnded(c)
		l.begin(c, l.headAgain(c), g.Life)
	default:
		l.waitEnded(c)
		l.refuse(c, 503, "worker_unavailable", l.gate.Stats().Reason)
	}
	l.work(c)
}

// waitEnded notes how long a stream waited, however its wait has ended. A place in the queue of an open gate is no hold:
// no restart has to answer for it.
func (l *lane) waitEnded(c *conn) {
	s := &c.slot.Story
	waited := max(l.now-s.WaitSince, 0)
	s.Waited += waited
	if c.r.Has(arena.Queued) {
		l.count.Queued.Observe(waited)
		return
	}
	since := c.r.Arrived
	if c.r.Lives > 0 || c.r.Has(arena.Fresh) { // a life had it meanwhile
		since = s.WaitSince
	}
	l.heldSince(since, l.now)
	l.count.Holds.Observe(waited)
	if restart := l.arena.Mark().Since(s.WaitSince); restart != 0 {
		s.Restart = restart
	}
}

// heldSince notes the longest waits.
func (l *lane) heldSince(arrived, now int64) {
	arena.Max(&l.count.LongestHold, now-arrived)
	arena.Max(&l.count.HoldEver, now-arrived)
}

// headAgain parses the head of a stream that waited.
func (l *lane) headAgain(c *conn) []byte {
	head := l.head(c)
	if bad := http1.ParseRequest(head, &l.request); bad != nil {
		panic("relay: a head that was taken isn't taken any more: " + bad.Reason)
	}
	return head
}

// begin connects a stream that passed to its life, with its head (l.request) as the first output.
func (l *lane) begin(c *conn, head []byte, life int64) {
	t := l.relay.target.Load()
	if t == nil || t.life != life { // the life has gone between the grant and now
		l.back(c, life, false)
		return
	}
	k, reused, e := l.connection(c, t)
	switch e {
	case 0:
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN: // our own want, or its full backlog: it is there
		l.count.Stalled.Add(1)
		l.dropAllKept()
		l.back(c, life, true)
		return
	default:
		l.unreachable(c, life)
		return
	}
	// The record says that there is no worker, so these belong to nobody yet.
	n, w := &c.slot.Noted, k.conn
	l.arena.Note(&n.UpGiven, k.given)
	l.arena.Note(&n.DownTaken, k.taken)
	l.arena.Note(&n.UpPiped, k.given)

	r, q := &c.r, &l.request
	r.Phase, r.Life = arena.Relay, life
	r.Worker, r.PipeR, r.PipeW = w.Socket, w.PipeR, w.PipeW
	r.GivenFrom, r.Up.OutBase = k.given, k.given
	r.Down.InBase, r.Down.Judged = k.taken, k.taken
	edit := http1.RequestEdit{RequestID: c.slot.ID.Value(), Origin: l.origin(c), KeepAlive: l.relay.WorkerIdle > 0}
	edited := http1.AppendRequest(c.areas.UpOut[:0], head, q, edit)
	if len(edited) > len(c.areas.UpOut) {
		panic("relay: an edited head is longer than its area")
	}
	r.Up.Out = r.GivenFrom + int64(len(edited))
	r.Up.Safe = r.Up.Out
	r.Up.Judged = r.HeadAt + int64(r.HeadLen)
	r.Request = http1.NewBody(q.Framing, q.Length)
	r.Clear(arena.RequestDone | arena.AnswerBegun | arena.Continue | arena.ChunkedUp | arena.LastChunkUp | arena.Reused | arena.WorkerKeeps)
	switch {
	case q.Framing == http1.FramingNone:
		r.Set(arena.RequestDone)
	case q.ExpectContinue && !r.Has(arena.Continued):
		r.Set(arena.Continue)
	}
	if q.Framing == http1.FramingChunked {
		r.Set(arena.ChunkedUp)
	}
	if reused {
		r.Set(arena.Reused)
	}
	l.commit(c)
	c.connected, c.workerOut, c.workerIn, c.lifeGone, c.scanned, c.bareSince, c.since = reused, reused, false, false, 0, 0, l.now
	c.stream = (c.stream + 1) & streamMask
	l.unheard(c)
	if reused {
		c.workerWatch = keptWatch
		if err := l.poll.Rewatch(w.Socket, c.token(workerSide), keptWatch); err != nil {
			panic(err) // as in watchFor
		}
		l.tellToGoOn(c)
	}
}

// connect ends the wait for the worker's connection. It says whether it stands.
func (l *lane) connect(c *conn) bool {
	if !c.workerOut {
		return false
	}
	if e := l.k.Connected(c.r.Worker); e != 0 {
		l.unreachable(c, c.r.Life)
		return false
	}
	c.connected, c.retries = true, 0
	l.count.Connects.Observe(l.now - c.since)
	l.tellToGoOn(c)
	return true
}

// tellToGoOn answers a client that waits to be told so before it sends its body: now it will be read.
func (l *lane) tellToGoOn(c *conn) {
	if !c.r.Has(arena.Continue) {
		return
	}
	c.r.Clear(arena.Continue)
	if c.r.Minor >= 1 && c.unjudged() == 0 {
		c.r.Set(arena.Continued)
		rewind(&c.r.Down, c.slot.Noted.DownGiven)
		c.sayString("HTTP/1.1 100 Continue\r\n\r\n")
		c.r.Down.Safe = c.r.Down.Out
	}
	l.commit(c)
}

// unreachable: nobody listens where the life should. Nothing was given, so the stream waits and tries again.
func (l *lane) unreachable(c *conn, life int64) {
	if l.relay.Unreachable != nil {
		l.relay.Unreachable(life)
	}
	l.back(c, life, true)
}

// back takes a stream of which its life got no byte to the gate again, to the place that its arrival gives it; after
// a pause where its connection failed, since an open gate would let it pass at once.
func (l *lane) back(c *conn, life int64, pause bool) {
	l.beginWait(c, gate.Held)
	l.unsend(c)
	if pause {
		l.gate.Exit(life)
		l.pause(c)
		return
	}
	l.pass(c, life)
}

// unsend makes a stream one that waits, with its whole request before it.
func (l *lane) unsend(c *conn) {
	r := &c.r
	c.detach()
	r.Phase, r.Life = arena.Held, 0
	r.Up.Judged = r.HeadAt
	r.GivenFrom, r.Up.OutBase, r.Up.Safe, r.Up.Out = 0, 0, 0, 0
	l.waits(c)
	l.commit(c)
}

// again enters a stream whose pause is over.
func (l *lane) again(c *conn) {
	c.retryAt = 0
	if c.r.Lives >= maxLives { // no news came
		l.giveUpOn(c)
		return
	}
	l.goToGate(c)
}

func (l *lane) entered(c *conn, verdict gate.Verdict, life int64) {
	switch verdict {
	case gate.Pass:
		l.waitEnded(c)
		l.begin(c, l.headAgain(c), life)
	case gate.Held, gate.Queued:
		if !c.r.Has(arena.Waited) { // it was lost over a kept connection just when no life served
			l.beginWait(c, verdict)
			l.commit(c)
		}
	default:
		l.wait(c, verdict)
	}
}

// holdOver: a stream has waited as long as it may.
func (l *lane) holdOver(c *conn) {
	if !l.withdraw(c) {
		return // its grant is in the mail
	}
	l.waitEnded(c)
	why := "the worker did not come back within the time that requests are held"
	if l.gate.Stats().State == gate.Open {
		why = "the worker had as many requests as it may have at once for all the time that this one could wait"
	}
	l.refuse(c, 503, "worker_unavailable", why)
}
