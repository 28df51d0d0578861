package relay

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"slices"
	"sync"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/http1"
)

// A request that a life had got all of, and hadn't answered, when it died may be what it died of. Nobody can tell it
// from those that were in flight beside it. So each of them is given to the next life alone, never with the others: the
// next one goes when the one before it has got the beginning of its answer, or has ended. Streams that were in flight
// at no crash don't wait for them. If a life dies again, the one that had its turn is held to be the cause: it ends
// loudly, and the same request is refused for a while.
//
// The one that came last goes first. A life dies soon after it has got what it dies of, so that one is most likely to
// be it; and then there is nobody yet whose answer has begun and would be cut with it.

const (
	// condemning is at how many crashes a request was in flight that is given to no life any more.
	condemning = 2
	// condemnedFor is how long the same request is refused.
	condemnedFor = 10 * time.Minute
	// suspectedCode is what its clients are told.
	suspectedCode = "request_suspected"
)

// turns lets suspects pass one at a time. A runner that takes over fills it from the slots.
type turns struct {
	post func(gate.Ticket) // to the loop that owns the stream; must not block, must not call back

	mu      sync.Mutex    // guards what follows
	inside  int           // whose turn it is: one, but for what a take-over may find
	waiting []gate.Ticket // the one that goes first is the last
}

// join waits for a turn, which is posted.
func (t *turns) join(ticket gate.Ticket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(t.waiting, ticket, byArrival)
	t.waiting = slices.Insert(t.waiting, i, ticket)
	t.next()
}

func byArrival(a, b gate.Ticket) int {
	return cmp.Or(cmp.Compare(a.Arrived, b.Arrived), cmp.Compare(a.Slot, b.Slot))
}

// forget drops one that no longer waits. It says false where its turn is on the way.
func (t *turns) forget(ticket gate.Ticket) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, found := slices.BinarySearchFunc(t.waiting, ticket, byArrival)
	if found {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	return found
}

// restore counts a suspect that a take-over found with its life; or somebody who wants nobody's turn to come meanwhile.
func (t *turns) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside++
}

// over ends a turn.
func (t *turns) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside--
	t.next()
}

func (t *turns) next() {
	if n := len(t.waiting); n > 0 && t.inside == 0 {
		t.inside++
		t.post(t.waiting[n-1])
		t.waiting = t.waiting[:n-1]
	}
}

// waits is how many wait for their turn.
func (t *turns) waits() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}

// turnCame lets a suspect go to the gate.
func (l *lane) turnCame(t gate.Ticket) {
	c := l.conns[t.Slot]
	if c == nil || c.r.Phase != arena.Held || c.r.Arrived != t.Arrived || !c.queued {
		l.relay.turns.over() // its client left meanwhile
		return
	}
	c.queued, c.turn = false, true
	l.goToGate(c)
	l.work(c)
}

// yield ends the turn of a suspect that has got its answer's beginning, or has ended.
func (l *lane) yield(c *conn) {
	if c.turn {
		c.turn = false
		l.relay.turns.over()
	}
}

// withdraw takes a stream that waits from wherever it does. It says false where what it waited for is on the way.
func (l *lane) withdraw(c *conn) bool {
	switch {
	case c.retryAt != 0:
		c.retryAt = 0
		return true
	case c.queued:
		c.queued = false // its turn, if it is on the way, will find it so
		l.relay.turns.forget(l.ticket(c))
		return true
	}
	return l.gate.Forget(l.ticket(c))
}

// crashTold: the life with which a stream that waits was lost has died.
func (l *lane) crashTold(c *conn) {
	c.r.LostOn = 0
	c.r.Crashes = min(c.r.Crashes+1, condemning)
	free := l.withdraw(c)
	switch {
	case c.r.Crashes >= condemning:
		l.condemn(c)
	case c.r.Lives >= maxLives:
		l.giveUpOn(c)
	default:
		l.commit(c)
		if free { // else granted, or turnCame, finds it a suspect
			l.goToGate(c)
		}
	}
}

// condemn ends a suspect that a second life died of, and remembers it. A death in between remembers it twice, which is
// once.
func (l *lane) condemn(c *conn) {
	if sum, ok := l.sum(c); ok {
		l.arena.Condemn(sum, l.now, l.now+int64(condemnedFor))
	}
	l.count.Condemned.Add(1)
	c.r.Outcome, c.r.Cause = arena.Cut, arena.Suspect
	l.answerLost(c, suspectedCode, "the worker died twice while it was at this request: it won't be given it again for ten minutes")
}

// condemned says whether a whole request is one that a worker died of, and then refuses it. It is asked before the
// last byte of the request is given, and costs one load as long as nothing was condemned.
func (l *lane) condemned(c *conn) bool {
	if !l.arena.AnyCondemned(l.now) {
		return false
	}
	sum, ok := l.sum(c)
	if !ok || !l.arena.IsCondemned(sum, l.now) {
		return false
	}
	l.count.SuspectsRefused.Add(1)
	l.refuse(c, http.StatusBadGateway, suspectedCode, "the worker died twice while it was at the same request, within the last ten minutes")
	return true
}

// sum tells requests apart: by their method, target and payload, however it is framed. It fails where not all of the
// request is there.
func (l *lane) sum(c *conn) (sum arena.Sum, ok bool) {
	if !c.copied() {
		return sum, false
	}
	head := l.head(c)
	var q http1.Request
	if bad := http1.ParseRequest(head, &q); bad != nil {
		return sum, false
	}
	hash := sha256.New()
	hash.Write(q.MethodName.Of(head))
	hash.Write([]byte{' '})
	hash.Write(q.Target.Of(head))
	hash.Write([]byte{'\n'})
	body := http1.NewBody(q.Framing, q.Length)
	for at := c.r.HeadAt + int64(c.r.HeadLen); !body.Ended(); {
		in := l.input(c, at)
		used, piece, bad := body.Next(in)
		if bad != nil {
			return sum, false
		}
		if piece.Kind == http1.Data {
			hash.Write(in[piece.From:piece.To])
		}
		if piece.Kind == http1.More && used == 0 || piece.Kind == http1.Trailer {
			break // trailers don't count
		}
		at += int64(used)
	}
	var all [sha256.Size]byte
	hash.Sum(all[:0])
	return arena.Sum{binary.LittleEndian.Uint64(all[0:]), binary.LittleEndian.Uint64(all[8:])}, true
}
