package relay

import (
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/loop"
)

// lane is one loop's share of the connections: the slots whose number falls to it.
type lane struct {
	relay *Relay
	id    int
	k     kernel.Kernel
	arena *arena.Arena
	gate  *gate.Gate
	count *arena.Counters
	poll  poller
	mail  *loop.Mailbox[gate.Grant]
	turns *loop.Mailbox[gate.Ticket] // of suspects

	closing atomic.Bool
	knock   atomic.Bool // another lane couldn't take in who waits at the fronts

	mu        sync.Mutex // held while a batch is dealt with; guards everything that follows
	now       int64
	wheel     *loop.Wheel
	conns     []*conn // by slot; nil: free
	spare     []*conn // of ended connections
	free      []int32
	seq       uint32
	accepting bool
	took      int64 // from clients in this batch
	gave      int64 // to clients, likewise
	ready     []int // fronts at which somebody waits
	turn      int   // the front whose turn is next
	heardLife int64 // the latest life of which a stream got a byte; see progress.go
	heardAt   int64

	request  http1.Request  // of the head that was just parsed
	response http1.Response // likewise
	scratch  []byte
	kept     []kept // connections to the worker between two streams, the last used last
	joined   []byte // input of a request that lay in pieces
	waste    []byte // what nobody wants to know
}

func newLane(r *Relay, id int, p poller) *lane {
	l := &lane{
		relay: r, id: id, k: r.Kernel, arena: r.Arena, gate: r.gate, count: r.Arena.Counters(id), poll: p,
		now: r.Kernel.Now(), conns: make([]*conn, r.Arena.Slots()),
	}
	l.mail = loop.NewMailbox[gate.Grant](p.Wake)
	l.turns = loop.NewMailbox[gate.Ticket](p.Wake)
	l.wheel = loop.NewWheel(l.now)
	return l
}

// prepare lists the free slots; after TakeOver.
func (l *lane) prepare() {
	l.free = nil
	for i := l.arena.Slots() - 1; i >= 0; i-- {
		if i%len(l.relay.lanes) == l.id && l.conns[i] == nil {
			l.free = append(l.free, int32(i))
		}
	}
	l.accept(true)
}

func (l *lane) run() error {
	l.wakeUp()
	return l.poll.Run(l.handle, l.tick)
}

// wakeUp gives each stream of the runner before its first turn: everything may be ready.
func (l *lane) wakeUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.k.Now()
	l.prepare()
	for _, c := range l.conns {
		if c != nil {
			l.work(c)
		}
	}
	l.settle()
}

// settle adds a batch to the counters: one addition for many tokens.
func (l *lane) settle() {
	l.count.UpBytes.Add(l.took)
	l.count.DownBytes.Add(l.gave)
	l.count.Busy.Add(l.k.Now() - l.now)
	l.took, l.gave = 0, 0
}

// handle deals with a batch of events.
func (l *lane) handle(events []loop.Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.k.Now()
	for _, g := range l.mail.Take() {
		l.granted(g)
	}
	for _, t := range l.turns.Take() {
		l.turnCame(t)
	}
	l.ready = l.ready[:0]
	if l.knock.Swap(false) && l.accepting {
		l.ready = l.listening(l.ready)
	}
	for _, e := range events {
		if front, ok := l.frontOf(e.Token); ok {
			if !slices.Contains(l.ready, front) {
				l.ready = append(l.ready, front)
			}
			continue
		}
		if c := l.named(e.Token); c != nil {
			l.event(c, e.Token&1, e.Events)
		} else {
			l.dropNamed(e.Token)
		}
	}
	l.welcome()
	l.settle()
	return !l.closing.Load()
}

// named finds the connection that a token was made for, unless it has ended since.
func (l *lane) named(token uint64) *conn {
	i := uint32(token) & (1<<streamAt - 1) >> 1
	if c := l.conns[i]; c != nil && c.token(token&1) == token {
		return c
	}
	return nil
}

func (l *lane) tick() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.k.Now()
	if l.relay.Tick != nil {
		l.relay.Tick(l.id)
	}
	l.accept(true)
	l.wheel.Advance(l.now, func(key uint64) {
		if c := l.named(key); c != nil {
			c.timerAt = 0
			l.due(c)
		}
	})
	l.dropStale()
	l.settle()
	l.rest(l.empty() && len(l.kept) == 0)
	return !l.closing.Load()
}

// empty: not one of its slots is in use, so there is nothing whose time could come.
func (l *lane) empty() bool {
	lanes := len(l.relay.lanes)
	return len(l.free) == (l.arena.Slots()+lanes-1-l.id)/lanes
}

// rest lets ticks come rarely.
func (l *lane) rest(on bool) {
	if err := l.poll.Rest(on); err != nil {
		panic(err) // as in watchFor
	}
}

// event takes one descriptor's news.
func (l *lane) event(c *conn, side uint64, e uint32) {
	if side == clientSide {
		if e&(loop.Failed|loop.HangUp) != 0 || e&loop.PeerEnded != 0 && c.wantsClient() {
			// A FIN says that the client asks for no more. Workers take it as 'gone', and so do we: nobody
			// computes for an empty chair. See docs/limits.md.
			l.clientGone(c)
			return
		}
		c.clientIn = c.clientIn || e&(loop.Readable|loop.PeerEnded) != 0
		c.clientOut = c.clientOut || e&loop.Writable != 0
	} else {
		c.workerIn = c.workerIn || e&(loop.Readable|loop.PeerEnded|loop.HangUp|loop.Failed) != 0
		c.workerOut = c.workerOut || e&(loop.Writable|loop.HangUp|loop.Failed) != 0
	}
	l.work(c)
}

// wantsClient: the client's leaving would change something.
func (c *conn) wantsClient() bool { return c.r.Phase == arena.Held || c.r.Phase == arena.Relay }

// work drives a connection as far as it goes now, under its name, so that a death here is known as its.
func (l *lane) work(c *conn) {
	l.count.Working.Store(int64(c.index) + 1)
	l.advance(c)
	l.count.Working.Store(0)
}

// advance is the state machine: each phase does what it can and says whether the next one may go on.
func (l *lane) advance(c *conn) {
	for goOn := true; goOn; {
		switch c.r.Phase {
		case arena.Head:
			goOn = l.readHead(c)
		case arena.Held:
			goOn = l.whileHeld(c)
		case arena.Relay:
			goOn = l.relayBoth(c)
		case arena.Flush:
			goOn = l.flush(c)
		case arena.Linger:
			goOn = l.linger(c)
		case arena.Ended:
			return
		}
		if l.conns[c.index] != c {
			return // it ended
		}
	}
	l.observe(c)
	l.watch(c)
	l.schedule(c)
}

// whileHeld does what can be done for a stream that waits. It says whether the phase has changed.
func (l *lane) whileHeld(c *conn) bool {
	l.readAhead(c)
	if c.r.Phase == arena.Held && c.r.Has(arena.EarlyAnswer) {
		l.sendAnswer(c)
	}
	return c.r.Phase != arena.Held
}

// relayBoth moves the request and the answer. The request goes first: an answer may need it.
func (l *lane) relayBoth(c *conn) bool {
	if c.r.Outcome != arena.Pending { // a runner died while it cut this stream
		l.cut(c, c.r.Cause, "")
		return true
	}
	if !c.connected && !l.connect(c) {
		return c.r.Phase != arena.Relay
	}
	l.pumpUp(c)
	if c.r.Phase == arena.Relay {
		l.pumpDown(c)
	}
	return c.r.Phase != arena.Relay
}

// watch tells the poller what this connection waits for.
func (l *lane) watch(c *conn) {
	var client, worker uint32
	switch c.r.Phase {
	case arena.Head:
		client = loop.Readable | loop.PeerEnded
	case arena.Held:
		client = loop.PeerEnded
		if c.ahead == aheadReading {
			client |= loop.Readable
		}
	case arena.Relay:
		client = loop.PeerEnded
		if l.wantsRequest(c) {
			client |= loop.Readable
		}
		switch {
		case !c.connected:
			worker = loop.Writable
		case c.clientBlocked() && c.judgeAt == 0: // even a hang-up is none of our business before there is room
		case c.judgeAt == 0:
			worker = loop.Readable | loop.PeerEnded
		}
		if c.connected && c.toWorker() > 0 && !c.workerOut && !c.mute {
			worker |= loop.Writable
		}
	case arena.Flush, arena.Ended:
	case arena.Linger:
		client = loop.Readable | loop.PeerEnded
	}
	if c.clientBlocked() {
		client |= loop.Writable
	}
	if client == 0 {
		client = loop.Failed // told anyway; the client stays in the set
	}
	watchFor(l.poll, c.r.Client, c.token(clientSide), &c.clientWatch, client, c.clientIn || c.clientOut && c.clientWatch&loop.Writable != 0)
	watchFor(l.poll, c.r.Worker, c.token(workerSide), &c.workerWatch, worker, c.workerIn || c.judgeAt != 0 || c.workerOut && c.workerWatch&loop.Writable != 0)
}

// accept begins or ends to take new clients. It begins only where one would find a slot.
func (l *lane) accept(on bool) {
	if on == l.accepting || on && len(l.free) == 0 && l.longestIdle() == nil {
		return
	}
	for _, i := range l.listening(nil) {
		var err error
		if fd := int32(l.relay.Fronts[i].FD); on {
			err = l.poll.Watch(fd, frontToken(i), loop.Readable|loop.Exclusive)
		} else {
			err = l.poll.Unwatch(fd)
		}
		if err != nil {
			panic(err) // as in watchFor
		}
	}
	l.accepting = on
}

// welcome accepts who waits at the fronts that are ready, one client each in turn, a few at a time so that streams go
// on. Where slots run out in the middle, the front that was next is the first one the next time.
func (l *lane) welcome() {
	for left := 16 * len(l.ready); left > 0 && len(l.ready) > 0; left-- {
		if len(l.free) == 0 && l.longestIdle() == nil {
			l.noMore()
			return
		}
		at := l.nextFront()
		front := l.ready[at]
		client, e := l.k.Accept(l.relay.Fronts[front].FD)
		switch e {
		case 0:
			l.turn = front + 1
			if l.turnAway(client, front) {
				continue
			}
			if len(l.free) == 0 {
				l.shed()
			}
			l.work(l.admit(client, front))
		case unix.EAGAIN:
			l.ready = slices.Delete(l.ready, at, at+1)
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			if !l.dropAllKept() && !l.shed() {
				l.noMore()
				return
			}
		default: // that client is gone; the next one may not be
		}
	}
}

// nextFront is the place in ready of the front whose turn it is: the first one from turn on, else the first of all.
func (l *lane) nextFront() (next int) {
	wait := func(at int) int { return (l.ready[at] - l.turn + arena.MaxFronts) % arena.MaxFronts }
	for at := range l.ready {
		if wait(at) < wait(next) {
			next = at
		}
	}
	return next
}

// noMore stops accepting until the next tick. Of who waits the other lanes may not have heard: they are told.
func (l *lane) noMore() {
	l.count.Stalled.Add(1)
	l.accept(false)
	for _, other := range l.relay.lanes {
		if other != l {
			other.knock.Store(true)
			other.poll.Wake()
		}
	}
}

// admit gives a client's connection a slot. Before this the connection is nobody's, and a take-over finds it so.
func (l *lane) admit(client kernel.Conn, front int) *conn {
	l.rest(false)
	i := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	r := newcomer(client, front)
	l.arena.Fill(int(i), &r)
	l.count.Accepted.Add(1)
	c := l.attach(i)
	c.clientIn = true // the request is often there already
	return c
}

// attach makes a conn for a filled slot.
func (l *lane) attach(i int32) *conn {
	var c *conn
	if n := len(l.spare); n > 0 {
		c, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		c = new(conn)
	}
	l.seq = (l.seq + 1) & (1<<30 - 1) // far from the loop's own tokens
	*c = conn{
		r: *l.arena.Committed(int(i)), slot: l.arena.Slot(int(i)), areas: l.arena.Areas(int(i)), index: i, seq: l.seq,
		since: l.now, lastSent: l.now, lastToken: l.now, clientOut: true, worn: true, dropped: kernel.None,
		heardAt: l.now,
	}
	c.spoken = hadSpoken(&c.r)
	c.patience.credit = l.relay.Limits.grace()
	l.conns[i] = c
	l.join(c)
	return c
}

// longestIdle is the connection that has been idle longest, nil where none is.
func (l *lane) longestIdle() (longest *conn) {
	for _, c := range l.conns {
		if c != nil && c.idle() && (longest == nil || c.since < longest.since) {
			longest = c
		}
	}
	return longest
}

// shed closes the connection that has been idle longest, where there is one.
func (l *lane) shed() bool {
	longest := l.longestIdle()
	if longest == nil {
		return false
	}
	l.count.Shed.Add(1)
	l.release(longest)
	return true
}

// idle: between two requests, or before the first.
func (c *conn) idle() bool { return c.r.Phase == arena.Head && c.unjudged() == 0 }

// commit makes the working copy the slot's record, and then does what had to wait for that.
func (l *lane) commit(c *conn) {
	if c.r.Kept > 0 && c.copyOver() {
		c.forget()
	}
	l.arena.Commit(int(c.index), &c.r)
	if c.r.Kept == 0 && len(c.blocks) > 0 {
		l.returnBlocks(c)
	}
	if c.dropped != kernel.None {
		if c.dropped == c.spared.conn {
			l.kept = append(l.kept, c.spared)
		} else {
			l.close(c.dropped)
		}
		c.dropped, c.spared = kernel.None, kept{}
	}
	if c.left != 0 {
		life := c.left
		c.left = 0
		l.gate.Exit(life)
	}
}

func (l *lane) close(c kernel.Conn) {
	l.k.Close(c.Socket)
	if c.PipeR >= 0 {
		l.k.Close(c.PipeR)
		l.k.Close(c.PipeW)
	}
}

// detach takes the worker's connection out of the record; the next commit closes it.
func (c *conn) detach() {
	if c.r.Worker < 0 {
		return
	}
	c.dropped = c.worker()
	c.r.Worker, c.r.PipeR, c.r.PipeW = -1, -1, -1
	c.workerWatch, c.workerIn, c.workerOut, c.connected, c.mute = 0, false, false, false, false
	c.judgeAt = 0
}

// leave ends the stream's time with its life; the next commit tells the gate.
func (c *conn) leave() {
	c.detach()
	c.left = c.r.Life
}

// release ends the connection: first the slot, then the descriptors, then what others must hear.
func (l *lane) release(c *conn) {
	l.arena.Free(int(c.index))
	if c.r.Phase == arena.Relay {
		c.leave()
	}
	if c.dropped != kernel.None {
		l.close(c.dropped)
	}
	l.close(c.client())
	l.arena.Wipe(int(c.index))
	l.returnBlocks(c)
	l.yield(c)
	l.part(c)
	l.conns[c.index] = nil
	l.free = append(l.free, c.index)
	l.spare = append(l.spare, c)
	if c.left != 0 {
		l.gate.Exit(c.left)
	}
	c.r.Phase, c.dropped, c.left = arena.Ended, kernel.None, 0 // whoever still holds it finds nothing to do
}
