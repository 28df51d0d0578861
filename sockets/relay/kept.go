package relay

import (
	"slices"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/loop"
)

// A connection to the worker whose answer has ended well is kept for the lane's next request: it saves the worker and us
// an accept and a connect. It is closed before the worker's own time for that is over, and when its life doesn't serve any
// more. No slot names it, so a runner that takes over closes it.
//
// The kernel counts on from where the last stream left it, and so do we: the next stream's offsets begin there.

// keptMost bounds the connections that a lane keeps. Some workers have a thread for each.
const keptMost = 128

// kept is one connection between two streams.
type kept struct {
	conn         kernel.Conn
	life         int64
	since        int64
	given, taken int64  // since it was opened
	token        uint64 // that the poller knows it by: of the stream that had it last
}

// keptWatch is what a kept connection is watched for: whatever happens on it is its end.
const keptWatch = loop.Readable | loop.PeerEnded

// keepWorker notes that the worker's connection is to be kept, before it leaves the record, if it can be.
func (l *lane) keepWorker(c *conn) {
	r, n := &c.r, &c.slot.Noted
	if l.relay.WorkerIdle == 0 || len(l.kept) >= keptMost || c.lifeGone || c.mute || !c.connected || c.workerWatch == 0 ||
		!r.Has(arena.WorkerKeeps) || !c.givenWhole() || len(c.unjudgedDown()) > 0 {
		return
	}
	watchFor(l.poll, r.Worker, c.token(workerSide), &c.workerWatch, keptWatch, true)
	c.spared = kept{c.worker(), r.Life, l.now, n.UpGiven, n.DownTaken, c.token(workerSide)}
}

// reuse returns a kept connection to life on which nothing has happened, if there is one.
func (l *lane) reuse(life int64) (k kept, ok bool) {
	for len(l.kept) > 0 {
		last := len(l.kept) - 1
		k, l.kept = l.kept[last], l.kept[:last]
		if k.life == life && l.now-k.since < int64(l.relay.WorkerIdle) && l.k.Quiet(k.conn.Socket) {
			return k, true
		}
		l.close(k.conn)
	}
	return kept{}, false
}

// connection is a kept one for a stream that may be lost with it, else a new one.
func (l *lane) connection(c *conn, t *target) (k kept, reused bool, e kernel.Errno) {
	if c.r.Has(arena.Repeatable) && !c.r.Has(arena.Fresh) {
		if k, ok := l.reuse(t.life); ok {
			l.count.Reused.Add(1)
			return k, true, 0
		}
	}
	k.conn, e = l.k.Connect(t.to)
	if e == 0 {
		l.count.Opened.Add(1)
	}
	return k, false, e
}

// dropKept closes the kept connections that are meant, and says whether there were any.
func (l *lane) dropKept(meant func(*kept) bool) bool {
	before := len(l.kept)
	l.kept = slices.DeleteFunc(l.kept, func(k kept) bool {
		if !meant(&k) {
			return false
		}
		l.close(k.conn)
		return true
	})
	return len(l.kept) < before
}

// dropAllKept is for when descriptors run out.
func (l *lane) dropAllKept() bool { return l.dropKept(func(*kept) bool { return true }) }

// dropStale closes those whose time is over, or whose life doesn't serve.
func (l *lane) dropStale() {
	if len(l.kept) == 0 {
		return
	}
	serving := l.gate.Serves()
	l.dropKept(func(k *kept) bool { return k.life != serving || l.now-k.since >= int64(l.relay.WorkerIdle) })
}

// dropNamed closes the one on which something has happened.
func (l *lane) dropNamed(token uint64) { l.dropKept(func(k *kept) bool { return k.token == token }) }
