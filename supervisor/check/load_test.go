package check

import (
	"context"
	"testing"
	"time"
)

func smallLoad(t *testing.T, w *fakeWorker) *Load {
	t.Helper()
	return StartLoad(t.Context(), LoadOptions{
		Address: w.address(), Rate: 1000, Seed: 3,
		Groups: []Group{{Kind: Stream, Clients: 5, Tokens: [2]int{10, 20}}, {Kind: Plain, Clients: 2, Tokens: [2]int{10, 20}}},
	})
}

// completed waits until n more answers are complete.
func completed(t *testing.T, l *Load, n int64) {
	t.Helper()
	from := l.Tally.Counts().Complete
	if err := poll(within(t, 20*time.Second), time.Millisecond, func() (bool, error) { return l.Tally.Counts().Complete >= from+n, nil }); err != nil {
		t.Fatalf("%d more answers did not come: %s %v", n, l.Tally.Counts(), l.Tally.Counts().Notes)
	}
}

func TestALoadGoesOnUntilItIsStopped(t *testing.T) {
	l := smallLoad(t, startFake(t, plant{}))
	completed(t, l, 50)
	l.Stop(within(t, 20*time.Second))
	c := l.Tally.Counts()
	if c.Bad() > 0 || c.Kinds["stream"] == 0 || c.Kinds["plain"] == 0 || len(c.Nonces) != 1 || c.Total() != c.Complete {
		t.Errorf("want whole answers of both kinds from one life, got %s %v %v", c, c.Kinds, c.Nonces)
	}
}

func TestALoadRests(t *testing.T) {
	l := smallLoad(t, startFake(t, plant{}))
	completed(t, l, 10)
	if err := l.Rest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l.active != 0 || l.Open(0) != 0 {
		t.Errorf("%d clients are at work and %d streams open while all rest", l.active, l.Open(0))
	}
	l.Resume()
	completed(t, l, 10)
	l.Stop(within(t, 20*time.Second))
}

func TestWhatIsOpenWhenPatienceEndsIsCut(t *testing.T) {
	w := startFake(t, plant{wire: func(b []byte) []byte { return b[:len(b)/2] }, hang: true})
	l := smallLoad(t, w)
	if _, err := l.WaitOpen(within(t, 20*time.Second), 5, 0); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	l.Stop(gone)
	if c := l.Tally.Counts(); c.Cut != 7 || c.Total() != 7 {
		t.Errorf("want 7 cut answers, got %s", c)
	}
}

func TestAHeldStreamIsCountedAsHeld(t *testing.T) {
	w := startFake(t, plant{})
	w.delay.Store(int64(HeldFrom + 50*time.Millisecond))
	l := &Load{opts: LoadOptions{Address: w.address(), Rate: 1000, Patience: 10 * time.Second}}
	a := l.Ask(t.Context(), Group{Kind: Stream, Tokens: [2]int{5, 5}})
	if a.Outcome != Complete || a.Wait < HeldFrom || l.Tally.Holds.Count() != 1 || l.Tally.First.Count() != 0 {
		t.Errorf("want one held, got %d, and %d at once; it waited %v", l.Tally.Holds.Count(), l.Tally.First.Count(), a.Wait)
	}
}

func TestNobodyListensIsARefusal(t *testing.T) {
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	l := &Load{opts: LoadOptions{Address: address, Rate: 1000, Patience: time.Second}}
	if a := l.Ask(t.Context(), Group{Kind: Stream, Tokens: [2]int{5, 5}}); a.Outcome != Refused {
		t.Errorf("want it refused, it is %s: %s", a.Outcome, a.Why)
	}
}

func TestAPauseAcrossAMomentIsRecordedOnce(t *testing.T) {
	l := &Load{}
	c := &client{load: l}
	a := &Answer{Kind: Stream}
	var over Histogram
	start := time.Now()
	at := l.Mark(&over)
	c.pause(a, at.Add(-20*time.Millisecond), at.Add(30*time.Millisecond))
	c.pause(a, at.Add(30*time.Millisecond), at.Add(50*time.Millisecond))
	c.pause(a, at.Add(-90*time.Millisecond), at.Add(-70*time.Millisecond))
	if over.Count() != 1 || over.Max() != 50*time.Millisecond || l.Tally.Gaps.Count() != 3 || a.Gap != 50*time.Millisecond {
		t.Errorf("want one pause of 50ms across the moment at %v, got %s; in all %s", at.Sub(start), &over, &l.Tally.Gaps)
	}
}
