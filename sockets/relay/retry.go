package relay

import (
	"bytes"
	"net/http"
	"slices"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/http1"
)

// What becomes of a stream whose worker is lost before it answered. The client has seen nothing of an answer, so the
// request may be given to the next life, or to the same one over another connection, unless something speaks against
// it. suspect.go has what becomes of requests that lives die of.

// Replay says which requests may be given to a second life.
type Replay struct {
	// Paths are the ends of paths whose POST may be given again though a life had got all of it. GET and HEAD always
	// may, and so may what no life had got all of: nobody can have answered that.
	Paths []string
	// PerRequest is how many bytes of one request are kept for that.
	PerRequest int64
}

// repeatable: it does no harm if two lives answer this request.
func (p *Replay) repeatable(method http1.Method, target []byte) bool {
	switch method {
	case http1.MethodGet, http1.MethodHead:
		return true
	case http1.MethodPost:
		path, _, _ := bytes.Cut(target, []byte("?"))
		return slices.ContainsFunc(p.Paths, func(end string) bool { return bytes.HasSuffix(path, []byte(end)) })
	default:
		return false
	}
}

const (
	// maxLives is how many lives may be lost with one request.
	maxLives = 2
	// newsTime is how long a request whose lives are used up waits for news of the last one: whether that has died
	// says whether the request is a suspect.
	newsTime = time.Second
)

// loss is what is known of a stream whose worker is lost.
type loss struct {
	heard      bool  // something of an answer has come
	given      bool  // the worker has got something of the request
	whole      bool  // and all of it
	copied     bool  // all that was read of the request is still there
	repeatable bool  // see Replay
	lives      uint8 // that were lost with it before
}

// fate is what becomes of it.
type fate uint8

const (
	ends       fate = iota // loudly
	neverGiven             // it waits, as if it had never passed
	givenAgain             // it waits for its second life
	lostTwice              // it ends: no third life is risked for it
)

func (s loss) fate() fate {
	switch {
	case s.heard:
		return ends
	case !s.given:
		return neverGiven
	case !s.copied, s.whole && !s.repeatable:
		return ends
	case s.lives+1 >= maxLives:
		return lostTwice
	}
	return givenAgain
}

func (c *conn) loss() loss {
	return loss{
		heard: c.r.Has(arena.AnswerBegun) || len(c.unjudgedDown()) > 0 && !c.bare(),
		given: !c.ungiven(), whole: c.givenWhole(), copied: c.copied(), repeatable: c.r.Has(arena.Repeatable), lives: c.r.Lives,
	}
}

// ungiven: the worker has got no byte of the request.
func (c *conn) ungiven() bool { return c.slot.Noted.UpGiven == c.r.GivenFrom }

// givenWhole: it has got all of it, as far as the kernel knows.
func (c *conn) givenWhole() bool { return c.r.Has(arena.RequestDone) && c.toWorker() == 0 }

// lossOf is how a stream's worker was lost.
type lossOf int

const (
	ofKept       lossOf = iota // a connection that was kept, perhaps for too long
	ofConnection               // one connection; whether the life goes on isn't known yet
	ofLife                     // the life has died
	ofRestart                  // the life was ended while it worked
)

var lossNames = [arena.Losses]string{ofKept: "kept_connection", ofConnection: "connection", ofLife: "crash", ofRestart: "restart"}

// workerLost: nothing more will come from the worker.
func (l *lane) workerLost(c *conn, cause arena.Cause, why string) {
	of := ofConnection
	switch {
	case c.lifeGone:
		of = ofLife
	case c.r.Has(arena.Reused) && len(c.unjudgedDown()) == 0: // where a head has come it wasn't kept too long
		of = ofKept
	}
	switch c.loss().fate() {
	case ends:
		l.cut(c, cause, why)
	case neverGiven:
		if of == ofKept {
			c.r.Set(arena.Fresh)
		}
		l.back(c, c.r.Life, of == ofConnection)
	case givenAgain:
		l.giveAgain(c, of)
	case lostTwice:
		if of == ofKept { // no life was lost
			l.giveAgain(c, of)
			return
		}
		l.loseAgain(c, of)
	}
}

// giveAgain makes a stream that was lost with its worker one that waits, with its whole request before it.
func (l *lane) giveAgain(c *conn, of lossOf) {
	life := c.r.Life
	if l.book(c, of); c.r.Crashes >= condemning {
		l.condemn(c) // a loss over a kept connection, which doesn't count as a life, turned out to be a crash
		return
	}
	l.count.Retries[of].Add(1)
	if of != ofKept {
		l.beginWait(c, gate.Held)
	}
	c.r.HoldUntil = l.now + max(int64(l.relay.Hold), int64(newsTime)) // anew: its life may have had it for long
	if of == ofKept {                                                 // no life was lost
		c.r.Set(arena.Fresh)
		l.unsend(c)
		l.pass(c, life)
		return
	}
	l.unsend(c)
	switch {
	case of == ofConnection:
		l.gate.Exit(life)
		l.pause(c)
	case c.r.Crashes > 0:
		l.gate.Exit(life)
		l.goToGate(c)
	default:
		l.pass(c, life)
	}
}

// book notes in the record what was lost with the stream; the commit that makes it wait again makes it count.
func (l *lane) book(c *conn, of lossOf) {
	r := &c.r
	all := c.givenWhole() || r.LostOn == r.Life
	if of != ofKept {
		r.Lives = min(r.Lives+1, maxLives)
	}
	r.LostOn = 0
	switch {
	case !all || of == ofRestart:
	case of == ofLife:
		r.Crashes = min(r.Crashes+1, condemning)
	default:
		r.LostOn = r.Life
		if l.relay.Broken != nil {
			l.relay.Broken(r.Life)
		}
	}
}

// loseAgain ends a stream that was lost with a second life: at once, or when it is known whether it is a suspect.
func (l *lane) loseAgain(c *conn, of lossOf) {
	life := c.r.Life
	l.book(c, of)
	switch {
	case c.r.Crashes >= condemning:
		l.condemn(c)
	case c.r.LostOn != 0 && c.r.Crashes > 0:
		l.beginWait(c, gate.Held)
		c.r.HoldUntil = l.now + 2*int64(newsTime)
		l.unsend(c)
		l.gate.Exit(life)
		c.retryAt = l.now + int64(newsTime)
	default:
		l.giveUpOn(c)
	}
}

// giveUpOn ends a stream whose lives are used up.
func (l *lane) giveUpOn(c *conn) {
	c.r.Outcome, c.r.Cause = arena.Cut, arena.Crash
	l.blameRestart(c)
	l.answerLost(c, "worker_failed", "the worker failed twice before it answered this request")
}

// answerLost answers for a request that is not to be tried again, by us or by the client's SDK: two lives were lost
// with it, and three times as many would be.
func (l *lane) answerLost(c *conn, code, why string) {
	c.r.Clear(arena.KeepAlive)
	rewind(&c.r.Down, c.slot.Noted.DownGiven)
	l.answerError(c, http.StatusBadGateway, code, why)
	l.end(c)
}

// pass takes a stream that left its life to the gate at once.
func (l *lane) pass(c *conn, life int64) {
	verdict, again := l.gate.Return(l.ticket(c), life)
	l.entered(c, verdict, again)
}

// pause lets a stream wait before it goes to the gate: an open one would let it pass at once.
func (l *lane) pause(c *conn) {
	c.retryAt = l.now + int64(min(retryFirst<<c.retries, retryMost))
	c.retries = min(c.retries+1, 6)
}

// goToGate takes a stream that waits to the gate; a suspect only when it is its turn.
func (l *lane) goToGate(c *conn) {
	if c.r.Crashes > 0 && !c.turn {
		c.queued = true
		l.relay.turns.join(l.ticket(c))
		return
	}
	verdict, life := l.gate.Rejoin(l.ticket(c))
	l.entered(c, verdict, life)
}

// cutOrGiveAgain is for a life that is ended while it works: what it hasn't answered goes to the next one, if there is
// to be one.
func (l *lane) cutOrGiveAgain(c *conn, cause arena.Cause) {
	if s := l.gate.Stats().State; s == gate.Holding || s == gate.Open {
		switch c.loss().fate() {
		case neverGiven:
			l.back(c, c.r.Life, false)
			return
		case givenAgain:
			l.giveAgain(c, ofRestart)
			return
		case ends, lostTwice:
		}
	}
	l.cut(c, cause, "")
}
