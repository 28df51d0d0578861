package relay

import (
	"bytes"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/openai"
)

// Progress is how far the streams of one life are. A byte is one of an answer's body here: a head says only that
// somebody listens, vLLM sends it before the prompt is processed, and a comment says only that somebody keeps time.
type Progress struct {
	Life int64
	Open int // streams that the life has. Those that wait for their client, and not for the worker, are in no count below

	Answering   int           // they have had a byte, and wait for the next
	Waiting     int           // they wait for their first
	Overdue     int           // of those: longer than was asked for
	LongestWait time.Duration // of those that wait for their first

	Heard   int64         // CLOCK_MONOTONIC ns at which a stream of the life, open or ended, got a byte; 0: none has, in this runner
	Silence time.Duration // since then, and since the last of the Answering and Overdue began to wait
}

// Progress looks at all streams of life. One that waits for its first byte is overdue after the time that a prompt may
// take. What a runner before this one heard is not known any more: its streams count as if they had got a byte when this
// one began.
func (r *Relay) Progress(life int64, prompt time.Duration) Progress {
	p := Progress{Life: life}
	now := r.Kernel.Now()
	latest := int64(0)
	for _, l := range r.lanes {
		l.mu.Lock()
		if l.heardLife == life {
			p.Heard = max(p.Heard, l.heardAt)
		}
		for _, c := range l.conns {
			if c == nil || !c.of(life) {
				continue
			}
			p.Open++
			if c.waitsForClient() {
				continue
			}
			if !c.spoken {
				p.Waiting++
				wait := time.Duration(now - c.heardAt)
				p.LongestWait = max(p.LongestWait, wait)
				if wait <= prompt {
					continue
				}
				p.Overdue++
			} else {
				p.Answering++
			}
			latest = max(latest, c.heardAt)
		}
		l.mu.Unlock()
	}
	if latest = max(latest, p.Heard); latest != 0 {
		p.Silence = time.Duration(max(0, now-latest))
	}
	return p
}

// waitsForClient: the worker has nothing to do for this stream now, since its client takes nothing, or hasn't sent the
// whole request.
func (c *conn) waitsForClient() bool {
	return c.clientBlocked() || !c.r.Has(arena.RequestDone) && c.toWorker() == 0
}

// heard notes that the worker has given a piece of this answer's body.
func (l *lane) heard(c *conn) {
	c.told, c.spoken, c.heardAt = false, true, l.now
	if c.r.Life >= l.heardLife {
		l.heardLife, l.heardAt = c.r.Life, l.now
	}
}

// unheard begins the wait for the first byte.
func (l *lane) unheard(c *conn) { c.told, c.spoken, c.heardAt = false, false, l.now }

// hadSpoken says of a stream that a runner before this one carried whether its answer has had a byte. Where nobody can
// tell it says no: then the stream has the time of a prompt again.
func hadSpoken(r *arena.Record) bool {
	return r.Phase == arena.Relay && r.Has(arena.Judged) && r.Dialect != openai.NewState(r.Kind)
}

// isComment says whether an event holds no data: it keeps a connection alive and is no part of an answer.
func isComment(event []byte) bool {
	return len(event) > 0 && event[0] == ':' && !bytes.Contains(event, []byte("\ndata")) && !bytes.Contains(event, []byte("\rdata"))
}
