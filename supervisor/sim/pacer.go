package sim

import (
	"container/heap"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tick is the grid on which the pacer wakes, so that streams that are due almost together cost one wake-up.
	tick = time.Millisecond
	// retryFull is when a socket that took no more is tried again.
	retryFull = 10 * time.Millisecond
	// burst bounds the writes to one connection before the others have their turn.
	burst = 64
)

// delivery is an answer on its way to a connection.
type delivery struct {
	conn    *connection
	request *http.Request
	began   time.Time
	queued  bool    // it came while the batch was full: it waits as long as the batch is
	prompt  int     // tokens of its prompt
	answer  *answer // the pacer's goroutine alone
	pending []byte  // likewise: what the socket did not take
	after   move    // likewise: what follows pending
	done    chan struct{}
	tokens  atomic.Int64 // sent so far, or being sent

	// The pacer's mutex guards what follows.
	at      time.Duration
	index   int // in the queue, -1: not in it
	ended   bool
	settled bool // it is no longer among those that run
	aborts  bool // the worker was told to end
	resumes bool // a hang was lifted
}

// pacer sends the events of all answers when they are due, from one goroutine: a goroutine or a timer for each stream
// would cost a wake-up for each token. It never blocks on a connection: what a socket does not take is kept, and the
// answer says no more until it is gone, so that a slow client slows only itself.
type pacer struct {
	owner owner
	start time.Time
	wake  chan struct{} // capacity 1
	buf   []byte        // the pacer's goroutine alone
	step  int           // likewise: tokens of this pass, of prompts too

	mu     sync.Mutex // guards what follows
	open   map[*delivery]struct{}
	queue  queue                  // of those, the ones that wait for their time
	parked map[*delivery]struct{} // and those that hang, or are silent for ever
	// An answer runs until just before its last bytes are written: who reads these may ask the next one at once.
	running int
	most    int // that ever ran at once
}

// owner is told what the pacer sees. It is called without the pacer's mutex.
type owner interface {
	hanging() bool                               // no token is to move
	saturated() bool                             // no token of those that queue is to move
	counted(tokens int)                          // so many were sent
	began(prompt int, after time.Duration)       // an answer's first token was sent, of so many of its prompt
	stepped(tokens int)                          // so many were sent in one pass over all that was due, prompts included
	finished(reason string, after time.Duration) // an answer came to the end that it was to have
	ended(whole bool)                            // an answer is over, by a fault if it is not whole; its connection is told after
	left(d *delivery, reason string)             // a write found that the client has left
}

func newPacer(o owner) *pacer {
	return &pacer{
		owner: o, start: time.Now(), wake: make(chan struct{}, 1),
		open: map[*delivery]struct{}{}, parked: map[*delivery]struct{}{},
	}
}

// now is the pacer's clock.
func (p *pacer) now() time.Duration { return time.Since(p.start) }

// run sends until stop is closed.
func (p *pacer) run(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []*delivery
	for {
		now := p.now()
		var sleep time.Duration
		batch, sleep = p.takeDue(batch[:0], now)
		for _, d := range batch {
			p.visit(d, now)
		}
		if p.step > 0 {
			p.owner.stepped(p.step)
			p.step = 0
		}
		if len(batch) > 0 {
			select {
			case <-stop:
				return
			default:
				continue
			}
		}
		timer.Reset(sleep)
		select {
		case <-stop:
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// takeDue takes all that is due by now off the queue, and says how long it is until the next tick with something due.
func (p *pacer) takeDue(batch []*delivery, now time.Duration) ([]*delivery, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) > 0 && p.queue[0].at <= now {
		batch = append(batch, heap.Pop(&p.queue).(*delivery))
	}
	if len(p.queue) == 0 {
		return batch, time.Hour
	}
	return batch, (p.queue[0].at + tick - 1).Truncate(tick) - now
}

// visit sends what an answer has to say by now, and puts it back in the queue or ends it.
func (p *pacer) visit(d *delivery, now time.Duration) {
	p.mu.Lock()
	ended, aborts, resumes := d.ended, d.aborts, d.resumes
	d.aborts, d.resumes = false, false
	p.mu.Unlock()
	switch {
	case ended:
		return
	case aborts:
		d.answer.abort(now)
	case resumes:
		d.answer.resume(now)
	}
	if len(d.pending) > 0 && !p.flush(d, now) {
		return
	}
	for range burst {
		if d.answer.paced() && !d.answer.aborting && p.stuck(d) {
			p.park(d)
			return
		}
		if due := d.answer.due(); due > now {
			p.requeue(d, due)
			return
		}
		said := d.answer.total
		var follows move
		p.buf, follows = d.answer.next(p.buf[:0])
		said = d.answer.total - said
		p.say(d, said) // before the write: a client may leave at once on what it brings
		if follows != moveOn && follows != moveSilent {
			p.mu.Lock()
			p.settle(d)
			p.mu.Unlock()
		}
		n, err := d.conn.writeNow(p.buf)
		if said > 0 {
			p.owner.counted(said)
		}
		switch {
		case err != nil:
			p.gone(d, err)
			return
		case n < len(p.buf):
			d.pending, d.after = append(d.pending[:0], p.buf[n:]...), follows
			p.requeue(d, now+retryFull)
			return
		case follows != moveOn:
			p.finish(d, follows)
			return
		}
	}
	p.requeue(d, now)
}

// say counts the tokens of one write.
func (p *pacer) say(d *delivery, tokens int) {
	if tokens == 0 {
		return
	}
	p.step += tokens
	if d.tokens.Add(int64(tokens)) == int64(tokens) {
		p.step += d.prompt
		p.owner.began(d.prompt, d.answer.base-d.answer.came)
	}
}

// stuck says that the engine does not come to an answer.
func (p *pacer) stuck(d *delivery) bool { return p.owner.hanging() || d.queued && p.owner.saturated() }

// flush sends what is pending. It says whether the answer may go on.
func (p *pacer) flush(d *delivery, now time.Duration) bool {
	n, err := d.conn.writeNow(d.pending)
	if err != nil {
		p.gone(d, err)
		return false
	}
	if d.pending = d.pending[n:]; len(d.pending) > 0 {
		p.requeue(d, now+retryFull)
		return false
	}
	d.pending = nil
	if d.after != moveOn {
		p.finish(d, d.after)
		return false
	}
	return true
}

// finish does what follows an answer's last bytes.
func (p *pacer) finish(d *delivery, follows move) {
	if follows == moveSilent {
		p.park(d)
		return
	}
	p.mu.Lock()
	gone := d.ended
	d.ended = true
	delete(p.open, d)
	p.mu.Unlock()
	if gone {
		return
	}
	if reason := d.answer.reason(); follows == moveEnd && reason != finishNone {
		p.owner.finished(reason, p.now()-d.answer.came)
	}
	p.owner.ended(follows == moveEnd)
	switch {
	case follows == moveReset:
		d.conn.reset()
	case follows == moveCut, d.answer.closes:
		d.conn.close()
	default:
		d.conn.idle()
	}
	close(d.done)
}

// gone ends an answer that nobody reads any more.
func (p *pacer) gone(d *delivery, err error) {
	if p.leave(d) {
		p.owner.left(d, err.Error())
		d.conn.close()
		close(d.done)
	}
}

// add puts a new answer in the queue.
func (p *pacer) add(d *delivery) {
	d.index, d.done = -1, make(chan struct{})
	p.mu.Lock()
	p.open[d] = struct{}{}
	p.running++
	p.most = max(p.most, p.running)
	heap.Push(&p.queue, d)
	p.mu.Unlock()
	p.poke()
}

// settle takes an answer off those that run.
func (p *pacer) settle(d *delivery) {
	if !d.settled {
		d.settled = true
		p.running--
	}
}

// mostAtOnce is how many answers ever ran at once.
func (p *pacer) mostAtOnce() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

func (p *pacer) requeue(d *delivery, at time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.ended {
		return
	}
	if d.at = at; d.aborts || d.resumes { // asked for while it was visited
		d.at = 0
	}
	heap.Push(&p.queue, d)
}

func (p *pacer) park(d *delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case d.ended:
	case d.aborts || d.resumes:
		d.at = 0
		heap.Push(&p.queue, d)
	default:
		p.parked[d] = struct{}{}
	}
}

// leave takes an answer out because its client has gone; false: it had ended before.
func (p *pacer) leave(d *delivery) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.ended {
		return false
	}
	d.ended = true
	p.settle(d)
	delete(p.open, d)
	delete(p.parked, d)
	if d.index >= 0 {
		heap.Remove(&p.queue, d.index)
	}
	return true
}

// resumeAll lets the answers that hang go on.
func (p *pacer) resumeAll() { p.hasten(func(d *delivery) { d.resumes = true }) }

// abortAll makes every answer end as vLLM aborts it.
func (p *pacer) abortAll() { p.hasten(func(d *delivery) { d.aborts = true }) }

// hasten marks every open answer and has it visited at once; one that is just being visited finds the mark after.
func (p *pacer) hasten(mark func(*delivery)) {
	p.mu.Lock()
	for d := range p.open {
		mark(d)
	}
	for d := range p.parked {
		delete(p.parked, d)
		heap.Push(&p.queue, d)
	}
	for _, d := range p.queue {
		d.at = 0
	}
	heap.Init(&p.queue)
	p.mu.Unlock()
	p.poke()
}

func (p *pacer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// queue is a heap of answers, the one that is due first on top.
type queue []*delivery

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is for container/heap.
func (q *queue) Push(x any) {
	d := x.(*delivery)
	d.index = len(*q)
	*q = append(*q, d)
}

// Pop is for container/heap.
func (q *queue) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	d.index = -1
	return d
}
