package arena

import (
	"bytes"
	"slices"
	"sync"
	"testing"
)

func TestBlocksAreClaimedAndReturned(t *testing.T) {
	a := create(t, 3)
	var all []Block
	for place := range int32(3) {
		n, ok := a.Claim(2, place)
		if !ok {
			t.Fatalf("no block for place %d", place)
		}
		copy(a.Block(n), "prompt")
		all = append(all, Block{Number: n, Slot: 2, Place: place})
	}
	if _, ok := a.Claim(1, 0); ok {
		t.Error("more blocks than there are")
	}
	b := open(t, a)
	if got := b.Claimed(); !slices.Equal(got, all) || b.Blocks() != 3 || b.BlocksClaimed() != 3 {
		t.Errorf("the next runner finds %v, want %v", got, all)
	}
	b.Return(all[1].Number)
	if n, ok := a.Claim(0, 7); !ok || n != all[1].Number || len(bytes.Trim(a.Block(n), "\x00")) > 0 {
		t.Errorf("claimed %d, %v, holding %q; want the block that was returned, wiped", n, ok, a.Block(n)[:6])
	}
	if got := b.Claimed()[1]; got != (Block{Number: all[1].Number, Slot: 0, Place: 7}) {
		t.Errorf("its name is %+v", got)
	}
}

// TestReturnedBlocksGiveTheirMemoryBack: nobody's prompt stays behind.
func TestReturnedBlocksGiveTheirMemoryBack(t *testing.T) {
	a := create(t, 1)
	before := blocks(t, a)
	n, _ := a.Claim(0, 0)
	for i := range a.Block(n) {
		a.Block(n)[i] = 'x'
	}
	if held := blocks(t, a) - before; held < BlockSize {
		t.Fatalf("a full block holds %d bytes", held)
	}
	a.Return(n)
	if held := blocks(t, a) - before; held > pageSize { // of the table
		t.Errorf("%d bytes are held still", held)
	}
}

// TestABlockHasOneOwner: lanes share the pool without a lock.
func TestABlockHasOneOwner(t *testing.T) {
	a := OnHeap(8)
	var owners [heapBlocks]int32
	var all sync.WaitGroup
	for slot := range int32(4) {
		all.Go(func() {
			for range 2000 {
				n, ok := a.Claim(slot, 0)
				if !ok {
					continue
				}
				owners[n]++ // the race detector sees two owners
				a.Block(n)[0]++
				a.Return(n)
			}
		})
	}
	all.Wait()
	if n := a.BlocksClaimed(); n != 0 {
		t.Errorf("%d blocks are claimed", n)
	}
}

// TestABlockIsFreeOrClaimedAfterADeath: whatever store it dies at, no block is lost for good and none holds old bytes
// while it is free.
func TestABlockIsFreeOrClaimedAfterADeath(t *testing.T) {
	everyDeath(t, func(die func(*Arena, func()) bool) {
		a := OnHeap(1)
		die(a, func() {
			n, _ := a.Claim(0, 0)
			copy(a.Block(n), "prompt")
			a.Return(n)
		})
		for _, b := range a.Claimed() { // as a take-over does
			a.Return(b.Number)
		}
		for n := range int32(heapBlocks) {
			if len(bytes.Trim(a.Block(n), "\x00")) > 0 {
				t.Errorf("free block %d holds %q", n, a.Block(n)[:6])
			}
		}
	})
}

func TestARequestIsCondemnedOrNotAfterADeath(t *testing.T) {
	s := Sum{7, 8}
	everyDeath(t, func(die func(*Arena, func()) bool) {
		a := OnHeap(1)
		died := die(a, func() { a.Condemn(s, 10, 100) })
		if a.IsCondemned(Sum{}, 10) || a.IsCondemned(Sum{7, 0}, 10) {
			t.Error("another request is condemned")
		}
		if !died && !a.IsCondemned(s, 10) {
			t.Error("it isn't condemned")
		}
		a.Condemn(s, 10, 100) // the next runner's
		if !a.IsCondemned(s, 10) || !a.AnyCondemned(10) {
			t.Error("after a death it can't be condemned any more")
		}
	})
}
