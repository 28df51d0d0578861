package relay

import (
	"errors"
	"fmt"
	"slices"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
)

// poisonous is how many deaths in a row a connection may be worked on at before it is held to be their cause.
const poisonous = 3

// TakeOver makes the arena true again after a runner's death: the kernel knows what that one took and gave and didn't
// note. It only mends; what is to be sent or dialled waits until Serve, where each connection's turn is counted as
// its own. It may itself be killed and begun again at any point. A slot that can't be true is cut alone, before any
// number in it is believed.
//
// Call it before this process opens any other socket or pipe: what no slot names is closed.
func (r *Relay) TakeOver() error {
	left, err := r.Kernel.Descriptors()
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	named := r.doubt(left)
	r.suspect()
	r.sweep(left, named)
	blocks := r.chained()
	r.turns.restore() // nobody's turn comes before all are found
	defer r.turns.over()
	for i := range r.Arena.Slots() {
		if !r.Arena.Used(i) {
			continue
		}
		l := r.lanes[i%len(r.lanes)]
		l.count.Working.Store(int64(i) + 1)
		l.restore(int32(i), blocks[int32(i)])
		l.count.Working.Store(0)
	}
	return nil
}

// suspect finds the connections that were being worked on when the last runner died.
func (r *Relay) suspect() {
	working := map[int]bool{}
	for i := range arena.MaxLoops {
		count := r.Arena.Counters(i)
		if slot := count.Working.Load(); slot > 0 {
			working[int(slot-1)] = true
		}
	}
	for i := range r.Arena.Slots() {
		if !r.Arena.Used(i) {
			continue
		}
		if s := r.Arena.Slot(i); working[i] {
			s.Suspect++
		} else {
			s.Suspect = 0
		}
	}
	for i := range arena.MaxLoops {
		r.Arena.Counters(i).Working.Store(0)
	}
}

// claims are, for each descriptor that a dead runner left, how many slots name it that may be true.
type claims map[int32]int

// doubt frees the slots that no runner can have written, and those that name a descriptor that isn't open, is another
// kind of thing, or is named by a second slot: of the two nobody can tell which is right. It returns what the other
// slots claim.
func (r *Relay) doubt(left []int32) claims {
	named, doubts := claims{}, make([]error, r.Arena.Slots())
	for _, fd := range left {
		named[fd] = 0
	}
	trusted := func(do func(i int, c *arena.Record)) {
		for i, doubt := range doubts {
			if r.Arena.Used(i) && doubt == nil {
				do(i, r.Arena.Committed(i))
			}
		}
	}
	trusted(func(i int, _ *arena.Record) { doubts[i] = r.Arena.Check(i) })
	trusted(func(_ int, c *arena.Record) { named.count(c) })
	trusted(func(i int, c *arena.Record) {
		if doubts[i] = named.doubt(c); doubts[i] == nil && !r.came(c) {
			doubts[i] = fmt.Errorf("descriptor %d is no connection of a client of front %d", c.Client, c.Front)
		}
	})
	for fd := range named {
		named[fd] = 0
	}
	trusted(func(_ int, c *arena.Record) { named.count(c) })
	for i, why := range doubts {
		if why != nil {
			r.reject(i, why, named)
		}
	}
	return named
}

func (n claims) count(c *arena.Record) {
	for _, fd := range c.Descriptors() {
		if _, open := n[fd]; open {
			n[fd]++
		}
	}
}

func (n claims) doubt(c *arena.Record) error {
	for _, fd := range c.Descriptors() {
		switch slots, open := n[fd]; {
		case !open:
			return fmt.Errorf("descriptor %d is neither a socket nor a pipe", fd)
		case slots > 1:
			return fmt.Errorf("descriptor %d is named by %d slots", fd, slots)
		}
	}
	return nil
}

// reject frees a slot that can't be true. Its client's connection, which the sweep will close, ends by an RST: what
// was given to it isn't known, so nothing else is sure to be loud.
func (r *Relay) reject(i int, why error, named claims) {
	count := r.lanes[i%len(r.lanes)].count
	r.Log.Error("connection can't be taken over", "slot", i, "reason", why)
	count.Impossible.Add(1)
	count.Outcomes[arena.Cut].Add(1)
	count.Causes[arena.Crash].Add(1)
	for _, fd := range r.Arena.Committed(i).Descriptors() {
		if slots, open := named[fd]; open && slots == 0 {
			if _, client := r.cameBy(fd); client && !r.untouched(fd) {
				r.Kernel.Reset(fd)
			}
		}
	}
	r.Arena.Free(i)
	r.Arena.Wipe(i)
}

// sweep deals with descriptors that no slot names: a client's connection that was accepted and not yet put into a slot
// is taken in; all else was on its way out, or not yet used, and is closed. That comes first: what is opened for a client
// that is taken in may get a number that was just closed.
func (r *Relay) sweep(left []int32, named claims) {
	waiting := map[int32]int{}
	for _, fd := range left {
		if named[fd] > 0 {
			continue
		}
		if front, client := r.cameBy(fd); client && r.untouched(fd) {
			waiting[fd] = front
			continue
		}
		r.orphan(fd)
	}
	for _, fd := range left {
		if front, waits := waiting[fd]; waits && !r.adopt(fd, front) {
			r.orphan(fd)
		}
	}
}

func (r *Relay) orphan(fd int32) {
	r.Kernel.Close(fd)
	r.lanes[0].count.Orphans.Add(1)
}

// untouched: nothing was read from this client, and nothing sent to it. Of what a unix socket was given nobody knows once
// its pipe is lost; but nothing is given to a client of whom nothing was read.
func (r *Relay) untouched(fd int32) bool {
	taken, err := r.Kernel.Taken(fd, 0)
	if err != nil || taken != 0 {
		return false
	}
	if r.Kernel.Local(fd).Unix != "" {
		return true
	}
	given, err := r.Kernel.Given(fd, false)
	return err == nil && given == 0
}

// adopt puts a client's connection of which nothing was read into a free slot.
func (r *Relay) adopt(fd int32, front int) bool {
	for i := range r.Arena.Slots() {
		if !r.Arena.Used(i) {
			client, e := r.Kernel.Adopt(fd)
			if e != 0 {
				return false
			}
			c := newcomer(client, front)
			r.Arena.Fill(i, &c)
			r.lanes[0].count.Accepted.Add(1)
			r.lanes[0].count.Adopted.Add(1)
			return true
		}
	}
	return false
}

// restore makes a conn of a slot, if the kernel agrees with it.
func (l *lane) restore(i int32, blocks []int32) {
	c := l.attach(i)
	c.blocks = slices.DeleteFunc(slices.Clone(blocks), func(b int32) bool { return b < 0 })
	if c.slot.Suspect >= poisonous {
		l.count.Poisoned.Add(1)
		l.giveUp(c, arena.Poison)
		return
	}
	err := c.chained(blocks)
	if err == nil {
		err = l.mend(c)
	}
	if err == nil {
		err = l.verify(c)
	}
	if err != nil {
		l.relay.Log.Error("connection can't be taken over", "slot", i, "phase", c.r.Phase, "reason", err)
		l.count.Impossible.Add(1)
		l.giveUp(c, arena.Crash)
		return
	}
	l.count.Mended.Add(1)
	c.clientIn, c.workerIn, c.workerOut, c.connected = true, true, true, true
	switch {
	case c.r.Phase == arena.Relay && c.unheard():
		l.beginWait(c, gate.Held)
		l.unsend(c) // perhaps it never connected: the gate knows best where it belongs
		l.rejoin(c)
	case c.r.Phase == arena.Relay:
		l.gate.Restore(c.r.Life)
		if c.turn = c.r.Crashes > 0 && !c.r.Has(arena.AnswerBegun); c.turn {
			l.relay.turns.restore()
		}
	case c.r.Phase == arena.Held:
		l.rejoin(c)
	case c.r.Phase == arena.Linger:
		c.closeAt = l.now + int64(lingerIdle)
	}
}

// rejoin lets a stream wait where it waited.
func (l *lane) rejoin(c *conn) {
	switch {
	case c.r.Lives >= maxLives:
		c.retryAt = l.now + int64(newsTime)
	case c.r.Crashes > 0:
		c.queued = true
		l.relay.turns.join(l.ticket(c))
	default:
		l.gate.Rejoin(l.ticket(c))
	}
}

// giveUp ends a connection that can't be mended, alone and loudly.
func (l *lane) giveUp(c *conn, cause arena.Cause) {
	c.r.Outcome, c.r.Cause = arena.Cut, cause
	if p := c.r.Phase; p == arena.Held || p == arena.Relay || p == arena.Flush {
		l.record(c)
	}
	if c.r.Has(arena.AnswerBegun) && c.r.Framing == http1.FramingClose {
		l.k.Reset(c.r.Client)
	}
	c.detach()
	c.r.Phase = arena.Linger // it is in flight on no life
	l.release(c)
}

// mend asks the kernel what was taken and given, and believes it.
func (l *lane) mend(c *conn) error {
	r, n := &c.r, &c.slot.Noted
	last := r.Phase == arena.Linger || r.Phase == arena.Flush && !r.Has(arena.KeepAlive) // nothing it says counts any more
	if !last {
		if err := l.mendTaken("the client", c.client(), &n.UpTaken, r.Up.InBase+arena.InSize); err != nil {
			return err
		}
	}
	if !last || c.toClient() > 0 { // else our FIN may be out, which the kernel would count
		if err := l.mendGiven("the client", c.client(), false, &n.DownGiven, &n.DownPiped, r.Down.Safe); err != nil {
			return err
		}
	}
	if r.Worker >= 0 {
		if err := l.mendTaken("the worker", c.worker(), &n.DownTaken, r.Down.InBase+arena.InSize); err != nil {
			return err
		}
		if err := l.mendGiven("the worker", c.worker(), true, &n.UpGiven, &n.UpPiped, r.Up.Safe); err != nil {
			return err
		}
		l.count.Unjudged.Add(int64(len(c.unjudgedDown())))
	}
	l.count.Unsent.Add(c.toClient())
	return nil
}

// mendTaken finds out what was read from one side.
func (l *lane) mendTaken(whom string, from kernel.Conn, noted *int64, most int64) error {
	taken, err := l.k.Taken(from.Socket, *noted)
	if err != nil {
		return fmt.Errorf("taken from %s: %w", whom, err)
	}
	if from.PipeR >= 0 {
		l.k.Lap(from.Socket) // the dead runner may not have come to it
	}
	return l.believe("taken from "+whom, noted, taken, most, &l.count.Untaken)
}

// mendGiven finds out what one side was given; connected says that we connected it, rather than accepted it.
func (l *lane) mendGiven(whom string, to kernel.Conn, connected bool, noted, piped *int64, most int64) error {
	what := "given to " + whom
	if to.PipeR >= 0 {
		return l.mendPipe(what, to, noted, piped, most)
	}
	given, err := l.k.Given(to.Socket, connected)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return l.believe(what, noted, given, most, &l.count.Ungiven)
}

// mendPipe finds out what went through the pipe in front of a unix socket. It is filled only when it is empty, and
// then noted, so there are two cases: filled and noted, when what isn't in it any more went on; or filled and not
// noted, when nothing went on.
func (l *lane) mendPipe(what string, to kernel.Conn, noted, piped *int64, most int64) error {
	in, err := l.k.InPipe(to)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if *piped == *noted {
		return l.believe("put into the pipe, to be "+what, piped, *noted+in, most, &l.count.Ungiven)
	}
	return l.believe(what, noted, *piped-in, most, &l.count.Ungiven)
}

// believe corrects a noted count by the kernel's, which may only be larger, and not by more than the slot allows.
func (l *lane) believe(what string, noted *int64, kernel, most int64, unnoted interface{ Add(int64) int64 }) error {
	if kernel < *noted || kernel > most {
		return fmt.Errorf("%s: %d by the kernel, %d noted, %d possible", what, kernel, *noted, most)
	}
	if kernel > *noted {
		unnoted.Add(kernel - *noted)
		l.arena.Note(noted, kernel)
	}
	return nil
}

// errorRoom is what is always left for an answer of ours where none has begun: see answerHead.
const errorRoom = headRoom - http1.MaxGrowth

// verify looks at what the kernel knows nothing of: that the answer can go on where the record says that it is, and
// that the head of a stream that may go to another life is one.
func (l *lane) verify(c *conn) error {
	r, h := &c.r, &c.r.Down
	free := arena.OutSize - (h.Out - h.OutBase)
	if h.Out == c.slot.Noted.DownGiven {
		free = arena.OutSize
	}
	held := h.Out - h.Safe // the beginning of an event, or of trailers
	switch {
	case r.Phase != arena.Held && r.Phase != arena.Relay:
		return nil
	case !r.Has(arena.AnswerBegun) && free < errorRoom, free < chunkWaste:
		return fmt.Errorf("%d bytes of room are left for the answer", free)
	case r.Framing == http1.FramingChunked && !r.Has(arena.LastChunkDown) && 0 < held && held <= int64(len(openSize)):
		return fmt.Errorf("an event of %d bytes is under way, its chunk's size line among them", held)
	case !c.copyNeeded() || !c.copied():
		return nil
	}
	head := l.head(c)
	if end, bad := http1.FindHeadEnd(head, 0); bad != nil || end != len(head) {
		return errors.New("where the request's head should be there is none")
	}
	if bad := http1.ParseRequest(head, &l.request); bad != nil {
		return fmt.Errorf("the request's head: %w", bad)
	}
	if l.request.Method != r.Method || l.request.Minor != r.Minor {
		return errors.New("the request's head is another one")
	}
	return nil
}

// unheard: its life has got no byte of the request and has said nothing, so the stream may go to another one.
func (c *conn) unheard() bool { return c.ungiven() && !c.r.Has(arena.AnswerBegun) }
