package loop

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// TestNoLetterIsLost: many post, one takes, and only when it was woken. In the bubble a letter without a wake would be a
// deadlock, which fails the test.
func TestNoLetterIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const posters, each = 8, 500
		type letter struct{ from, n int }
		woken := make(chan struct{}, posters*each)
		box := NewMailbox[letter](func() { woken <- struct{}{} })
		var all sync.WaitGroup
		for from := range posters {
			all.Go(func() {
				for n := range each {
					box.Post(letter{from, n})
				}
			})
		}
		next, taken, wakes := make([]int, posters), 0, 0
		for taken < posters*each {
			<-woken
			wakes++
			for _, l := range box.Take() {
				if l.n != next[l.from] {
					t.Fatalf("letter %d of %d came, want %d", l.n, l.from, next[l.from])
				}
				next[l.from]++
				taken++
			}
		}
		all.Wait()
		if left := box.Take(); len(left) != 0 {
			t.Errorf("%d letters came twice", len(left))
		}
		if wakes+len(woken) > taken {
			t.Errorf("%d wakes for %d letters", wakes+len(woken), taken)
		}
	})
}

// TestABatchWakesOnce: a loop that is busy is woken for the first letter only.
func TestABatchWakesOnce(t *testing.T) {
	wakes := 0
	box := NewMailbox[int](func() { wakes++ })
	if letters := box.Take(); len(letters) != 0 || wakes != 0 {
		t.Errorf("an empty box holds %v and woke %d times", letters, wakes)
	}
	for round := 1; round <= 3; round++ {
		box.Post(1)
		box.Post(2)
		box.Post(3)
		if wakes != round {
			t.Errorf("%d wakes after %d batches", wakes, round)
		}
		first := box.Take()
		box.Post(4)
		if !slices.Equal(first, []int{1, 2, 3}) {
			t.Errorf("took %v, want 1 2 3 in their order, whatever is posted later", first)
		}
		if rest := box.Take(); !slices.Equal(rest, []int{4}) {
			t.Errorf("took %v, want 4", rest)
		}
		wakes = round
	}
}
