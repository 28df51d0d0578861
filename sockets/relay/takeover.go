package relay

import (
	"fmt"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
)

// poisonous is how many deaths in a row a connection may be worked on at before it is held to be their cause.
const poisonous = 3

// TakeOver makes the arena true again after a runner's death: the kernel knows what that one took and gave and didn't
// note. It only mends; what is to be sent or dialled waits until Serve, where each connection's turn is counted as
// its own. It may itself be killed and begun again at any point.
//
// Call it before this process opens any other socket or pipe: what no slot names is closed.
func (r *Relay) TakeOver() error {
	r.suspect()
	if err := r.sweep(); err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	for i := range r.Arena.Slots() {
		if !r.Arena.Used(i) {
			continue
		}
		l := r.lanes[i%len(r.lanes)]
		l.count.Working.Store(int64(i) + 1)
		l.restore(int32(i))
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

// sweep deals with descriptors that no slot names: a client's connection that was accepted and not yet put into a slot
// is taken in; all else was on its way out, or not yet used, and is closed.
func (r *Relay) sweep() error {
	known := map[int32]bool{}
	for i := range r.Arena.Slots() {
		if r.Arena.Used(i) {
			c := r.Arena.Committed(i)
			known[c.Client], known[c.Worker], known[c.PipeR], known[c.PipeW] = true, true, true, true
		}
	}
	fds, err := r.Kernel.Descriptors()
	if err != nil {
		return err
	}
	port := r.Kernel.LocalPort(int32(r.Front))
	for _, fd := range fds {
		if known[fd] {
			continue
		}
		if taken, err := r.Kernel.Taken(fd, 0); err == nil && taken == 0 && port != 0 && r.Kernel.LocalPort(fd) == port && r.adopt(fd) {
			continue
		}
		r.Kernel.Close(fd)
		r.lanes[0].count.Orphans.Add(1)
	}
	return nil
}

// adopt puts a client's connection of which nothing was read into a free slot.
func (r *Relay) adopt(fd int32) bool {
	for i := range r.Arena.Slots() {
		if !r.Arena.Used(i) {
			r.Arena.Fill(i, &arena.Record{Client: fd, Worker: -1, PipeR: -1, PipeW: -1, Phase: arena.Head})
			r.lanes[0].count.Accepted.Add(1)
			r.lanes[0].count.Adopted.Add(1)
			return true
		}
	}
	return false
}

// restore makes a conn of a slot, if the kernel agrees with it.
func (l *lane) restore(i int32) {
	c := l.attach(i)
	if c.slot.Suspect >= poisonous {
		l.count.Poisoned.Add(1)
		l.giveUp(c, arena.Poison)
		return
	}
	if err := l.mend(c); err != nil {
		l.relay.Log.Error("connection can't be taken over", "slot", i, "phase", c.r.Phase, "reason", err)
		l.count.Impossible.Add(1)
		l.giveUp(c, arena.Crash)
		return
	}
	l.count.Mended.Add(1)
	c.clientIn, c.workerIn, c.workerOut, c.connected = true, true, true, true
	switch {
	case c.r.Phase == arena.Relay && c.slot.Noted.UpGiven == 0 && !c.r.Has(arena.AnswerBegun):
		l.unsend(c) // perhaps it never connected: the gate knows best where it belongs
		l.gate.Rejoin(c.ticket(l.id))
	case c.r.Phase == arena.Relay:
		l.gate.Restore(c.r.Life)
	case c.r.Phase == arena.Held:
		l.gate.Rejoin(c.ticket(l.id))
	case c.r.Phase == arena.Linger:
		c.closeAt = l.now + int64(lingerIdle)
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
	if r.Phase != arena.Linger { // what is read there is dropped, and not noted
		taken, err := l.k.Taken(r.Client, n.UpTaken)
		if err != nil {
			return fmt.Errorf("taken from the client: %w", err)
		}
		if err := l.believe("taken from the client", &n.UpTaken, taken, r.Up.InBase+arena.InSize, &l.count.Untaken); err != nil {
			return err
		}
	}
	given, err := l.k.Given(r.Client, false)
	if err != nil {
		return fmt.Errorf("given to the client: %w", err)
	}
	if err := l.believe("given to the client", &n.DownGiven, given, r.Down.Safe, &l.count.Ungiven); err != nil {
		return err
	}
	if r.Worker >= 0 {
		if err := l.mendWorker(c); err != nil {
			return err
		}
		l.count.Unjudged.Add(int64(len(c.unjudgedDown())))
	}
	l.count.Unsent.Add(c.toClient())
	return nil
}

func (l *lane) mendWorker(c *conn) error {
	r, n := &c.r, &c.slot.Noted
	taken, err := l.k.Taken(r.Worker, n.DownTaken)
	if err != nil {
		return fmt.Errorf("taken from the worker: %w", err)
	}
	if err := l.believe("taken from the worker", &n.DownTaken, taken, r.Down.InBase+arena.InSize, &l.count.Untaken); err != nil {
		return err
	}
	if r.PipeR >= 0 {
		return l.mendPipe(c, c.worker())
	}
	given, err := l.k.Given(r.Worker, true)
	if err != nil {
		return fmt.Errorf("given to the worker: %w", err)
	}
	return l.believe("given to the worker", &n.UpGiven, given, r.Up.Safe, &l.count.Ungiven)
}

// mendPipe finds out what went through the pipe in front of a unix worker. It is filled only when it is empty, and
// then noted, so there are two cases: filled and noted, when what isn't in it any more went on; or filled and not
// noted, when nothing went on.
func (l *lane) mendPipe(c *conn, w kernel.Worker) error {
	r, n := &c.r, &c.slot.Noted
	in, err := l.k.InPipe(w)
	if err != nil {
		return fmt.Errorf("given to the worker: %w", err)
	}
	if n.Piped == n.UpGiven {
		return l.believe("put into the pipe", &n.Piped, n.UpGiven+in, r.Up.Safe, &l.count.Ungiven)
	}
	return l.believe("given to the worker", &n.UpGiven, n.Piped-in, r.Up.Safe, &l.count.Ungiven)
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
