package arena

import "sync/atomic"

// BlockSize is what one block of a request's copy holds.
const BlockSize = 64 << 10

// A request that may have to be sent again is kept as it came, from its head's first byte on. What doesn't stay in the
// slot's own input area lies in blocks, which all slots share: a chain of them, each naming its slot and its place in
// that slot's chain. How much of a chain counts is said by the slot's Record (Kept); a block beyond that, or of a slot
// that is free, is garbage of a death and is found by a take-over.
//
// The table has one word a block: 0 for a free one, else its slot plus 1 and, above that, its place. A lane claims a
// block by one compare-and-swap and frees only those of its own slots.

// Block is one claimed block, as the table names it.
type Block struct {
	Number int32 // of the block
	Slot   int32 // whose chain it is in
	Place  int32 // in that chain, from 0
}

func (a *Arena) block(n int) *uint64 { return a.word(a.blockTableAt + n*wordSize) }

// Blocks is how many there are.
func (a *Arena) Blocks() int { return a.blocks }

// Claim takes a free block for a place in a slot's chain. It says false where none is free. What the block held before
// was wiped. Anyone may call it, each for slots of their own.
func (a *Arena) Claim(slot, place int32) (number int32, ok bool) {
	first := int(a.hint.Load())
	for i := range a.blocks {
		n := first + i
		if n >= a.blocks {
			n -= a.blocks
		}
		if atomic.LoadUint64(a.block(n)) != 0 {
			continue
		}
		a.crash()
		if atomic.CompareAndSwapUint64(a.block(n), 0, uint64(place)<<32|uint64(slot+1)) {
			a.hint.Store(int32(n + 1))
			a.crash()
			return int32(n), true
		}
	}
	return 0, false
}

// Return gives a block back: first its memory, so that nobody's prompt stays behind, then its name. Only its owner
// calls it, when no record in force counts on it any more.
func (a *Arena) Return(number int32) {
	a.crash()
	a.wipe(a.blocksAt+int(number)*BlockSize, BlockSize)
	a.crash()
	atomic.StoreUint64(a.block(int(number)), 0)
	a.crash()
}

// Block returns a block's bytes. They are its owner's.
func (a *Arena) Block(number int32) []byte {
	at := a.blocksAt + int(number)*BlockSize
	return a.mem[at : at+BlockSize : at+BlockSize]
}

// Claimed lists the blocks that aren't free. What a table names that was scribbled over may be anything: the slot and
// the place are checked by whoever believes them.
func (a *Arena) Claimed() (all []Block) {
	for n := range a.blocks {
		if w := atomic.LoadUint64(a.block(n)); w != 0 {
			all = append(all, Block{Number: int32(n), Slot: int32(uint32(w)) - 1, Place: int32(w >> 32)})
		}
	}
	return all
}

// BlocksClaimed is how many blocks aren't free.
func (a *Arena) BlocksClaimed() (n int) {
	for i := range a.blocks {
		if atomic.LoadUint64(a.block(i)) != 0 {
			n++
		}
	}
	return n
}
