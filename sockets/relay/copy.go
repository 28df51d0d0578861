package relay

import (
	"fmt"
	"slices"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
)

// A request can be given to a second life only if all of it is still there. Most requests fit into their slot's input
// area, which then simply isn't used again before the answer begins: that costs nothing. What doesn't fit moves on into
// a chain of blocks, as it came, from the head's first byte on; the second time it is read from there and judged anew,
// which leads to the same bytes.
//
// The order of writes: into a block, behind what the record counts (Kept); then the commit that counts it; and only
// then may the area's bytes be written over. All is freed after the first commit that says that nobody needs it: the
// answer has begun, or the stream has ended.

// uncopied is why a request goes on without a copy, and so without a second life.
type uncopied int

const (
	tooLarge uncopied = iota // above Replay.PerRequest
	unpaid                   // no block is free: the budget of all copies is spent
)

var uncopiedNames = [arena.Uncopieds]string{tooLarge: "too_large", unpaid: "budget"}

// copyNeeded: until its answer begins a stream may have to go to another life.
func (c *conn) copyNeeded() bool {
	p := c.r.Phase
	return (p == arena.Relay || p == arena.Held) && !c.r.Has(arena.AnswerBegun|arena.Uncopied)
}

// copied: all that was read of the request is still there.
func (c *conn) copied() bool {
	return !c.r.Has(arena.Uncopied) && c.r.Up.InBase <= c.r.HeadAt+c.r.Kept
}

// copyOver: nobody will read from the blocks any more. An answer may begin while they are still being read.
func (c *conn) copyOver() bool {
	return !c.copyNeeded() && (c.r.Phase != arena.Relay || c.r.Up.Judged >= c.r.Up.InBase)
}

// keep copies what the input area holds of the request, up to byte end, behind what is kept already. It says false
// where there is no more room for it; what was kept before stays so. The next commit makes it count.
func (l *lane) keep(c *conn, end int64) bool {
	r := &c.r
	if end-r.HeadAt > l.relay.Replay.PerRequest {
		l.count.Uncopied[tooLarge].Add(1)
		return false
	}
	for at := r.HeadAt + r.Kept; at < end; {
		place, from := int((at-r.HeadAt)/arena.BlockSize), (at-r.HeadAt)%arena.BlockSize
		if place == len(c.blocks) {
			block, ok := l.arena.Claim(c.index, int32(place))
			if !ok {
				l.count.Uncopied[unpaid].Add(1)
				return false
			}
			c.blocks = append(c.blocks, block)
		}
		at += int64(copy(l.arena.Block(c.blocks[place])[from:], c.areas.UpIn[at-r.Up.InBase:end-r.Up.InBase]))
		r.Kept = at - r.HeadAt
	}
	return true
}

// forget takes the copy out of the record; what wasn't judged of it never will be.
func (c *conn) forget() {
	c.r.Kept = 0
	c.r.Up.Judged = max(c.r.Up.Judged, c.r.Up.InBase)
}

// returnBlocks frees the chain, when no record counts on it any more.
func (l *lane) returnBlocks(c *conn) {
	for _, block := range c.blocks {
		l.arena.Return(block)
	}
	c.blocks = nil
}

// makeRoom sees to it that the input area takes another read, where it can. What lies before end isn't needed in the
// area any more; where it may be needed again it goes to the copy first.
func (l *lane) makeRoom(c *conn, end int64) {
	h, taken := &c.r.Up, c.slot.Noted.UpTaken
	if end <= h.InBase || taken-h.InBase+headRead <= arena.InSize {
		return
	}
	if c.copyNeeded() {
		if !l.keep(c, end) {
			if c.r.Phase != arena.Relay || c.ungiven() {
				return // it lies here and nowhere else; TCP holds the rest
			}
			c.r.Set(arena.Uncopied)
		}
		l.commit(c) // before a byte is moved: the record in force must not need it where it lies
	}
	if compactIn(h, c.areas.UpIn, taken, end) {
		l.commit(c)
	}
}

// unjudged is how much was read from the client and not judged.
func (c *conn) unjudged() int64 { return c.slot.Noted.UpTaken - c.r.Up.Judged }

// input is what was read from the client and lies together, from byte at on: a part of a block, or of the area.
func (l *lane) input(c *conn, at int64) []byte {
	h, taken := &c.r.Up, c.slot.Noted.UpTaken
	if at >= h.InBase {
		return c.areas.UpIn[at-h.InBase : taken-h.InBase]
	}
	from := at - c.r.HeadAt
	first := from / arena.BlockSize * arena.BlockSize
	return l.arena.Block(c.blocks[first/arena.BlockSize])[from-first : min(c.r.Kept-first, arena.BlockSize)]
}

// joinBelow is how short a piece of input is joined with what follows it elsewhere, so that no line is in two pieces.
const joinBelow = http1.MaxTrailers + 2

// unjudgedUp is the next of what was read from the client and not judged: all of it, or, where some of it lies in
// blocks, a piece of at least joinBelow bytes.
func (l *lane) unjudgedUp(c *conn) []byte {
	at, taken := c.r.Up.Judged, c.slot.Noted.UpTaken
	b := l.input(c, at)
	if len(b) >= joinBelow || at+int64(len(b)) == taken {
		return b
	}
	l.joined = append(l.joined[:0], b...)
	for at += int64(len(b)); at < taken && len(l.joined) < joinBelow; at += int64(len(b)) {
		b = l.input(c, at)
		b = b[:min(len(b), joinBelow)]
		l.joined = append(l.joined, b...)
	}
	return l.joined
}

// head is the head of a request that was read before, where it lies now: a copy begins with it, and a block holds it.
func (l *lane) head(c *conn) []byte { return l.input(c, c.r.HeadAt)[:c.r.HeadLen] }

// chains are, for each slot, the blocks that a dead runner's table names as its, by their place.
type chains map[int32][]int32

// chained reads the table of blocks after a death. What no slot's record counts on is freed: claimed and not counted
// yet, no longer counted and not freed yet, or scribbled over. A chain with a gap is left for mend to find.
func (r *Relay) chained() chains {
	found := chains{}
	for _, b := range r.Arena.Claimed() {
		if b.Slot < 0 || int(b.Slot) >= r.Arena.Slots() || !r.Arena.Used(int(b.Slot)) || int64(b.Place)*arena.BlockSize >= r.Arena.Committed(int(b.Slot)).Kept || b.Place < 0 {
			r.Arena.Return(b.Number)
			continue
		}
		chain := found[b.Slot]
		for len(chain) <= int(b.Place) {
			chain = append(chain, -1)
		}
		if chain[b.Place] >= 0 { // nobody can tell which is right: then none is
			r.Arena.Return(b.Number)
			r.Arena.Return(chain[b.Place])
			chain[b.Place] = -1
		} else {
			chain[b.Place] = b.Number
		}
		found[b.Slot] = chain
	}
	return found
}

// chained says what is wrong with the blocks that a take-over found for this stream.
func (c *conn) chained(found []int32) error {
	needed := (c.r.Kept + arena.BlockSize - 1) / arena.BlockSize
	if int64(len(found)) != needed || slices.Contains(found, -1) {
		return fmt.Errorf("%d blocks of its request's copy are there, not all of %d", len(found), needed)
	}
	return nil
}
