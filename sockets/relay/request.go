package relay

import (
	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
)

// chunkWaste is what our framing adds to a piece of payload at the most: a chunk size line of an area's length, the
// CRLF behind it, and the last chunk with its blank line.
const chunkWaste = 24

// pumpUp moves the request towards the worker: as far as its input, its output's room and the worker go.
func (l *lane) pumpUp(c *conn) {
	for {
		if !l.sendRequest(c) || c.r.Has(arena.RequestDone) {
			return
		}
		moved, bad := l.judgeRequest(c)
		switch {
		case bad != nil:
			l.refuseBody(c, bad)
			return
		case c.r.Phase != arena.Relay:
			return // refused
		case moved:
			l.commit(c)
		case !c.clientIn || !l.readClient(c, int(min(c.r.Request.Left(), arena.InSize))+headRead):
			return
		}
	}
}

// sendRequest gives the worker what was judged. It says whether all of it went.
func (l *lane) sendRequest(c *conn) bool {
	for c.toWorker() > 0 {
		if !c.workerOut || c.mute {
			return false
		}
		h, n := &c.r.Up, &c.slot.Noted
		switch e := l.give(c.worker(), c.areas.UpOut[n.UpGiven-h.OutBase:h.Safe-h.OutBase], &n.UpGiven, &n.UpPiped); e {
		case 0:
		case unix.EAGAIN:
			c.workerOut = false
			return false
		default: // it takes no more; what it has said may still come, and its end will
			c.mute, c.workerIn = true, true
			return false
		}
	}
	return !c.mute
}

// give moves bytes of out into a socket once, through the pipe where it is a unix socket, and notes how far that came.
func (l *lane) give(to kernel.Conn, out []byte, given, piped *int64) unix.Errno {
	if to.PipeW < 0 {
		sent, e := l.k.Send(to.Socket, out)
		if e == 0 {
			l.arena.Note(given, *given+int64(sent))
		}
		return e
	}
	if *piped == *given { // the pipe is empty
		put, e := l.k.Pipe(to, out)
		if e != 0 {
			return e
		}
		l.arena.Note(piped, *given+int64(put))
	}
	poured, e := l.k.Pour(to, int(*piped-*given))
	if e == 0 {
		l.arena.Note(given, *given+int64(poured))
	}
	return e
}

// judgeRequest copies what the framing scanner takes into the output, in our framing. It says whether anything moved.
func (l *lane) judgeRequest(c *conn) (moved bool, bad *http1.Malformed) {
	r := &c.r
	rewind(&r.Up, c.slot.Noted.UpGiven)
	if compact(&r.Up, c.areas.UpOut, c.slot.Noted.UpGiven) {
		l.commit(c)
	}
	for more := true; more && !r.Has(arena.RequestDone); {
		room := len(c.roomUp()) - chunkWaste
		if room <= 0 {
			break
		}
		in := l.unjudgedUp(c)
		used, piece, bad := r.Request.Next(in[:min(len(in), room)])
		if bad != nil {
			return moved, bad
		}
		r.Up.Judged += int64(used)
		moved = moved || used > 0
		if used > 0 && r.Request.Ended() && l.condemned(c) {
			return false, nil // its last byte was not given
		}
		switch piece.Kind {
		case http1.Data:
			c.askData(in[piece.From:piece.To])
		case http1.Trailer:
			c.askLast()
			c.ask(in[piece.From:piece.To])
		case http1.End:
			if r.Has(arena.ChunkedUp) {
				c.askLast()
				c.ask([]byte("\r\n"))
			}
			r.Set(arena.RequestDone)
			moved = true
		case http1.More:
			more = used > 0 // there may be another block
		}
	}
	r.Up.Safe = r.Up.Out
	if moved && !c.copyNeeded() { // until then it must stay: the stream may have to go back to the gate
		rewindIn(&r.Up, c.slot.Noted.UpTaken)
	}
	return moved, nil
}

// ask appends to the worker's output.
func (c *conn) ask(b []byte) { c.r.Up.Out += int64(copy(c.roomUp(), b)) }

func (c *conn) askData(b []byte) {
	if !c.r.Has(arena.ChunkedUp) {
		c.ask(b)
		return
	}
	c.r.Up.Out += int64(len(http1.AppendChunkSize(c.roomUp()[:0], len(b))))
	c.ask(b)
	c.ask([]byte("\r\n"))
}

// askLast appends the last chunk, once.
func (c *conn) askLast() {
	if !c.r.Has(arena.LastChunkUp) {
		c.r.Set(arena.LastChunkUp)
		c.ask([]byte(http1.LastChunk))
	}
}

// wantsRequest: the client may go on with its request's body.
func (l *lane) wantsRequest(c *conn) bool {
	return c.connected && !c.r.Has(arena.RequestDone) && !c.mute && c.toWorker() == 0
}

// refuseBody ends a stream whose client sends no HTTP: with an answer where none has begun.
func (l *lane) refuseBody(c *conn, bad *http1.Malformed) {
	if c.r.Has(arena.AnswerBegun) {
		l.cut(c, arena.NoCause, bad.Reason)
		return
	}
	l.refuse(c, bad.Status, "malformed_request", bad.Reason)
}
