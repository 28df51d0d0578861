package relay

import (
	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/openai"
	"autoglm-sidecar/sockets/sse"
)

// openSize is the size line of a chunk whose size isn't known yet: four digits hold an area's length.
const openSize = "0000\r\n"

// takeEvents takes a piece of an event stream and returns how much of it. Whole events may be sent as soon as they are
// judged. The beginning of one goes to the output too, behind the safe end, and waits there for its rest; but only when
// the output is empty, so that the event has all the room there is: until then it stays in the input. So between two
// sends there always is the end of an event, where a heartbeat, or an error, may stand.
func (l *lane) takeEvents(c *conn, p []byte) (taken int) {
	r := &c.r
	if r.Down.Safe < r.Down.Out { // an event is under way
		n := r.Events.Next(p)
		if n < 0 {
			c.say(p)
			return len(p)
		}
		c.say(p[:n])
		c.closeChunk()
		if cause := c.judge(c.pending()); cause != arena.NoCause {
			l.cut(c, cause, openai.ErrorMessage(c.pending()))
			return n
		}
		c.sayString(c.afterChunk())
		r.Down.Safe = r.Down.Out
		taken, p = n, p[n:]
	}
	whole, between := 0, r.Events
	for {
		n := r.Events.Next(p[whole:])
		if n < 0 {
			break
		}
		if cause := c.judge(p[whole : whole+n]); cause != arena.NoCause {
			c.sayData(p[:whole]) // what was good goes on
			r.Down.Safe = r.Down.Out
			l.cut(c, cause, openai.ErrorMessage(p[whole:whole+n]))
			return taken + whole
		}
		whole, between = whole+n, r.Events
	}
	c.sayData(p[:whole])
	r.Down.Safe = r.Down.Out
	taken += whole
	rest := p[whole:]
	if len(rest) == 0 {
		return taken
	}
	if r.Down.Out != c.slot.Noted.DownGiven {
		r.Events = between
		return taken
	}
	rewind(&r.Down, c.slot.Noted.DownGiven) // all the room there is
	c.openChunk()
	c.say(rest)
	return taken + len(rest)
}

// openChunk begins a chunk for an event that comes in pieces, so that its bytes lie together.
func (c *conn) openChunk() {
	if c.r.Framing == http1.FramingChunked {
		c.sayString(openSize)
	}
}

// pending is the event under way: what lies behind the safe end, less its chunk's size line.
func (c *conn) pending() []byte {
	h := &c.r.Down
	b := c.areas.DownOut[h.Safe-h.OutBase : h.Out-h.OutBase]
	if c.r.Framing == http1.FramingChunked {
		b = b[len(openSize):]
	}
	return b
}

// closeChunk writes the size into an open chunk's size line.
func (c *conn) closeChunk() {
	if c.r.Framing != http1.FramingChunked {
		return
	}
	const digits = "0123456789abcdef"
	n := len(c.pending())
	line := c.areas.DownOut[c.r.Down.Safe-c.r.Down.OutBase:]
	for i := range 4 {
		line[i] = digits[n>>(12-4*i)&0xf]
	}
}

// afterChunk is what stands behind a chunk's payload.
func (c *conn) afterChunk() string {
	if c.r.Framing == http1.FramingChunked {
		return "\r\n"
	}
	return ""
}

// endEvents deals with the event that a stream's end leaves under way. Where the end is judged a half event is dropped,
// as a client would drop it; elsewhere it is nobody's but the client's.
func (l *lane) endEvents(c *conn) {
	r := &c.r
	if !r.Has(arena.EventStream) || r.Down.Safe == r.Down.Out || r.Has(arena.LastChunkDown) {
		return
	}
	switch {
	case !r.Has(arena.Judged):
		c.passPending()
	case !r.Events.Whole():
		r.Down.Out = r.Down.Safe
	default:
		if cause := c.judge(c.pending()); cause != arena.NoCause {
			l.cut(c, cause, openai.ErrorMessage(c.pending()))
			return
		}
		c.passPending()
	}
}

// passPending lets the event under way go as it is.
func (c *conn) passPending() {
	c.closeChunk()
	c.sayString(c.afterChunk())
	c.r.Down.Safe = c.r.Down.Out
}

// makeOpaque gives up on the events of a stream that has one longer than our room: from here on its bytes just pass.
func (l *lane) makeOpaque(c *conn) {
	c.passPending()
	c.r.Clear(arena.EventStream | arena.Judged)
	c.r.Set(arena.Opaque)
	l.count.TooLong.Add(1)
	e := l.storyOf(c)
	e.What = arena.TooLong
	l.relay.teller.put(e)
}

// judge shows one whole event to the dialect, and says why the stream is to be cut there, if it is.
func (c *conn) judge(event []byte) arena.Cause {
	c.told = c.told || !isComment(event)
	if !c.r.Has(arena.Judged) {
		return arena.NoCause
	}
	switch c.r.Dialect.Event(event) {
	case openai.Abort:
		return arena.Abort
	case openai.ErrorEvent:
		return arena.ErrorEvent
	case openai.Early:
		return arena.Truncated
	case openai.Forward, openai.Good:
	}
	return arena.NoCause
}

// heartbeat puts a comment into an event stream that has been silent, where it is between two events and the client
// has taken everything.
func (l *lane) heartbeat(c *conn) {
	r := &c.r
	c.lastBeat = l.now
	if r.Down.Safe != r.Down.Out || c.toClient() > 0 || !r.Has(arena.AnswerBegun|arena.EarlyAnswer) || r.Has(arena.LastChunkDown) {
		return
	}
	c.rewindDown()
	c.sayData([]byte(sse.Heartbeat))
	r.Down.Safe = r.Down.Out
	l.commit(c)
	l.count.Heartbeats.Add(1)
}
