package check

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Kind is what a client asks for and how it behaves.
type Kind uint8

// The kinds of clients.
const (
	Stream     Kind = iota // a chat as an event stream, read as it comes
	Completion             // a legacy completion as an event stream
	Slow                   // a chat that the worker writes far faster than the client reads
	Plain                  // a chat as one JSON object
	Image                  // a chat whose prompt carries Group.Body bytes of base64, as AutoGLM's screenshots; the text depends on each of them
	Upload                 // Group.Body bytes, of which the worker answers length and SHA-256
	Echo                   // Group.Body bytes, which the worker sends back while it still reads
	Leaver                 // a chat that the client leaves when about half of it has come
)

var kindNames = [...]string{
	Stream: "stream", Completion: "completion", Slow: "slow", Plain: "plain", Image: "image", Upload: "upload", Echo: "echo", Leaver: "leaver",
}

func (k Kind) String() string { return kindNames[k] }

// streamed says whether the answer is an event stream.
func (k Kind) streamed() bool { return k != Plain && k != Upload && k != Echo }

// paced says whether the pauses between its tokens are the worker's and the relay's, not the client's own.
func (k Kind) paced() bool { return k == Stream || k == Completion || k == Image || k == Leaver }

const (
	// A slow reader takes so many bytes, then rests. Its worker writes as fast as it can, so that what is under way fills every
	// buffer on the path and the relay's own bounds are felt: on loopback the kernel alone takes some MB.
	slowRead  = 32 << 10
	slowPause = 40 * time.Millisecond
	slowPace  = `{"tokens_per_second":0}`
	// SlowRate is about how many tokens a second a slow reader takes, as measured on loopback.
	SlowRate = 2000

	// A body is written in pieces of up to so many bytes, each followed by a pause, so that it is under way for a while.
	uploadPiece = 32 << 10
	uploadPause = 10 * time.Millisecond
)

// client is one of a Load's. All but the atomics is its own goroutine's.
type client struct {
	load    *Load
	group   Group
	number  int
	rng     *rand.Rand
	wire    *wire
	used    int  // answers on this connection
	asked   int  // requests in all
	visitor bool // not one of the crowd: Load.Lengths is not for it

	planned atomic.Int64 // nanoseconds that the present answer will take at the worker's rate; 0: none
	began   atomic.Bool  // whether the first token of it has come
}

func (c *client) run(ctx context.Context, delay time.Duration) {
	defer c.hangUp()
	rest(ctx, delay)
	for c.load.begin(ctx) {
		a := c.once(ctx)
		c.load.Tally.Add(a)
		c.load.end()
		if a.Outcome != Complete && a.Outcome != Left {
			rest(ctx, afterTrouble)
		}
	}
}

// rest waits, unless ctx ends.
func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *client) hangUp() {
	if c.wire != nil {
		c.wire.close()
		c.wire = nil
	}
}

// once asks once and judges what comes. The connection is kept if it may be.
func (c *client) once(ctx context.Context) Answer {
	q := c.compose()
	a := Answer{Kind: q.kind, ID: q.id, Asked: time.Now()}
	length := c.load.length(q)
	c.planned.Store(int64(length))
	c.began.Store(false)
	defer func() {
		c.planned.Store(0)
		c.began.Store(false)
	}()
	if c.wire == nil {
		w, err := dial(ctx, c.load.opts.Address, q.kind == Slow)
		if err != nil {
			a.Outcome, a.Why = Refused, err.Error()
			return a
		}
		c.wire, c.used = w, 0
	}
	c.used++
	keep := c.exchange(q, &a, length+c.load.opts.Patience)
	a.Took = time.Since(a.Asked)
	if !keep || c.used >= answersAConnection {
		c.hangUp()
	}
	return a
}

// exchange sends q and reads its answer into a; it says whether the connection may carry another.
func (c *client) exchange(q ask, a *Answer, within time.Duration) (keep bool) {
	w := c.wire
	if err := w.arm(within); err != nil {
		a.Outcome, a.Why = Cut, err.Error()
		return false
	}
	sent := make(chan error, 1)
	if q.kind == Echo {
		go func() { sent <- c.send(q) }()
	} else {
		sent <- c.send(q)
	}
	// Even when sending failed an answer may lie there: a refusal is sent before the whole body was read.
	h, err := w.readHead()
	if err == nil {
		a.Wait = c.waited(q, w.at.Sub(a.Asked), within)
		c.read(q, a, h)
	} else {
		a.blame(err)
	}
	if a.Outcome != Complete {
		w.close() // what a Leaver does now; and a writer that is at work must end
	}
	if err := <-sent; err != nil && a.Outcome == Complete {
		a.Outcome, a.Why = Cut, err.Error()
	}
	return a.Outcome == Complete && h.keepAlive
}

// waited is how much of the time to an answer's first byte was nobody's work; 0: it can't be told.
func (c *client) waited(q ask, took, within time.Duration) time.Duration {
	switch q.kind {
	case Image, Upload, Echo: // how long the body took can't be told from how long it was held
		return 0
	case Plain: // the answer comes when it is whole
		return max(1, took-(within-c.load.opts.Patience))
	default:
		return took
	}
}

// read judges an answer whose head is h.
func (c *client) read(q ask, a *Answer, h head) {
	switch {
	case h.status == 502: // what was given to a worker is lost
		a.Outcome, a.Why = Cut, c.refusal(h)
		return
	case h.status != 200:
		a.Outcome, a.Why = Refused, c.refusal(h)
		return
	case h.requestID != q.id:
		a.Outcome, a.Flaw, a.Why = Corrupt, Misplaced, fmt.Sprintf("X-Request-Id %q", h.requestID)
		return
	case h.stream != q.kind.streamed():
		a.Outcome, a.Flaw, a.Why = Corrupt, Changed, "not the content type that was asked for"
		return
	}
	c.load.Tally.waited(a.Wait)
	b := h.body()
	switch {
	case q.kind.streamed():
		c.readStream(q, a, &b)
	case q.kind == Echo:
		c.readEcho(q, a, &b)
	default:
		c.readPlain(q, a, &b)
	}
	if w := c.wire; a.Outcome == Complete && w.from != w.to {
		a.Outcome, a.Flaw, a.Why = Corrupt, Doubled, fmt.Sprintf("%d bytes after the end of the answer", w.to-w.from)
	}
}

// refusal is the status and the beginning of what is said with it.
func (c *client) refusal(h head) string {
	b := h.body()
	said, err := c.wire.piece(&b)
	if err != nil {
		return fmt.Sprintf("status %d, then %v", h.status, err)
	}
	return fmt.Sprintf("status %d: %.200q", h.status, said)
}

// blame turns an error of the wire into an outcome.
func (a *Answer) blame(err error) {
	a.Why = err.Error()
	if _, bad := errors.AsType[misframed](err); bad {
		a.Outcome, a.Flaw = Corrupt, Misframed
		return
	}
	a.Outcome = Cut
}

// readStream compares an event stream with what it must be, notes its pauses, and judges its end.
func (c *client) readStream(q ask, a *Answer, b *body) {
	w, v := c.wire, &verifier{script: newScript(q)}
	defer func() { a.Tokens, a.Comments, a.Nonce = v.texts, v.comments, v.script.nonce }()
	var last time.Time // of the token before
	for {
		p, err := w.piece(b)
		if err != nil && v.wrong == nil {
			a.blame(err)
			return
		}
		texts := v.texts
		if !v.feed(p) && (v.enough() || b.finished || err != nil) {
			a.Outcome, a.Flaw, a.Why = v.judge()
			if a.Outcome == Cut && b.finished {
				a.Outcome, a.Flaw = Corrupt, Short // who overlooks the error event takes it for the whole
			}
			return
		}
		if v.texts > texts {
			c.began.Store(true)
			if w.at != last {
				c.pause(a, last, w.at)
				last = w.at
			}
		}
		switch {
		case b.finished && !v.whole():
			a.Outcome, a.Flaw = Corrupt, Short
			a.Why = fmt.Sprintf("a clean end at event %d of %d", v.next, v.script.events())
			return
		case b.finished:
			return
		case q.leave > 0 && v.texts >= q.leave:
			a.Outcome = Left
			c.load.leaves.note(q.id, v.script.nonce)
			return
		}
	}
}

// pause notes the time between two tokens.
func (c *client) pause(a *Answer, last, now time.Time) {
	if last.IsZero() || !a.Kind.paced() {
		return
	}
	gap := now.Sub(last)
	a.Gap = max(a.Gap, gap)
	c.load.Tally.Gaps.Record(gap)
	if m := c.load.moment.Load(); m != nil && last.Before(m.at) && now.After(m.at) {
		m.gaps.Record(gap)
	}
}

// readPlain reads a JSON answer whole and compares it.
func (c *client) readPlain(q ask, a *Answer, b *body) {
	var all []byte
	for !b.finished && len(all) < maxPlain {
		p, err := c.wire.piece(b)
		if err != nil {
			a.blame(err)
			return
		}
		all = append(all, p...)
	}
	judge := judgePlain
	if q.kind == Upload {
		judge = judgeUpload
	}
	var err error
	if a.Nonce, err = judge(q, all); err != nil {
		a.Outcome, a.Flaw, a.Why = Corrupt, Changed, err.Error()
	}
}

const maxPlain = 1 << 20

// readEcho compares what comes back with what is being sent.
func (c *client) readEcho(q ask, a *Answer, b *body) {
	due := q.body
	for !b.finished {
		p, err := c.wire.piece(b)
		if err != nil {
			a.blame(err)
			return
		}
		if at := differ(p, due[:min(len(p), len(due))]); at >= 0 {
			done := len(q.body) - len(due) + at
			a.Outcome, a.Flaw = Corrupt, compareFlaw(q.body[max(0, done-evidence):done], q.body[done:min(len(q.body), done+evidence)], p[at:])
			a.Why = fmt.Sprintf("byte %d of %d came back wrong", done, len(q.body))
			return
		}
		due = due[len(p):]
	}
	if len(due) > 0 {
		a.Outcome, a.Flaw, a.Why = Corrupt, Short, fmt.Sprintf("a clean end %d bytes early", len(due))
	}
}

// send writes the request, a large body in pieces.
func (c *client) send(q ask) error {
	buf := []byte(q.head)
	if q.expects {
		if _, err := c.wire.conn.Write(buf); err != nil {
			return fmt.Errorf("send the head: %w", err)
		}
		if err := c.wire.awaitContinue(); err != nil {
			return fmt.Errorf("wait for 100 Continue: %w", err)
		}
		buf = buf[:0]
	}
	for rest := q.body; ; {
		n := len(rest)
		if len(q.body) > uploadPiece {
			n = min(n, 1+c.rng.IntN(uploadPiece))
		}
		buf, rest = q.appendPiece(buf, rest[:n]), rest[n:]
		if len(rest) == 0 && q.chunked {
			buf = append(buf, "0\r\n\r\n"...)
		}
		if _, err := c.wire.conn.Write(buf); err != nil {
			return fmt.Errorf("send the request: %w", err)
		}
		if len(rest) == 0 {
			return nil
		}
		buf = buf[:0]
		time.Sleep(uploadPause) // the pace of the upload itself
	}
}

// uploadAnswer is what the worker says of a body that it read.
type uploadAnswer struct {
	Length int64  `json:"length"`
	SHA256 string `json:"sha256"`
	Life   string `json:"system_fingerprint"`
}

func judgeUpload(q ask, answer []byte) (nonce string, err error) {
	var got uploadAnswer
	if err := json.Unmarshal(answer, &got); err != nil {
		return "", fmt.Errorf("read the answer %.80q: %w", answer, err)
	}
	sum := sha256.Sum256(q.body)
	if want := hex.EncodeToString(sum[:]); got.Length != int64(len(q.body)) || got.SHA256 != want {
		return got.Life, fmt.Errorf("the worker got %d bytes with sum %.8s, sent were %d with %.8s", got.Length, got.SHA256, len(q.body), want)
	}
	return got.Life, nil
}
