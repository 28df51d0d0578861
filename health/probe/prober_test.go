package probe_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/health/probe"
)

// asks counts what a prober did.
type asks struct {
	out, most, asked, reported, failed, skipped atomic.Int64
	took                                        time.Duration // of an answer
}

func (a *asks) prober(interval, timeout time.Duration) *probe.Prober {
	return &probe.Prober{
		Ask: func(ctx context.Context) error {
			a.asked.Add(1)
			now := a.out.Add(1)
			a.most.Store(max(a.most.Load(), now))
			defer a.out.Add(-1)
			select {
			case <-time.After(a.took):
				return nil
			case <-ctx.Done():
				return probe.ErrNoAnswer
			}
		},
		First: interval, Interval: interval, Timeout: timeout,
		Random: func() float64 { return 0.5 },
		Report: func(r probe.Result) {
			a.reported.Add(1)
			if r.Err != nil {
				a.failed.Add(1)
			}
		},
		Skipped: func() { a.skipped.Add(1) },
	}
}

// during runs a prober for so long.
func during(d time.Duration, p *probe.Prober) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		p.Run(ctx)
		close(ended)
	}()
	time.Sleep(d)
	cancel()
	<-ended
}

func TestProber(t *testing.T) {
	for _, test := range []struct {
		name                               string
		took, interval, timeout            time.Duration
		asked, reported, failed, skippings int64
	}{
		{"answers come at once", 0, 10 * time.Second, 5 * time.Second, 6, 6, 0, 0},
		{"they come in time", 4 * time.Second, 10 * time.Second, 5 * time.Second, 6, 6, 0, 0},
		{"they come too late", 6 * time.Second, 10 * time.Second, 5 * time.Second, 6, 5, 5, 0},
		// Asked at 10 and 40; at 20, 30, 50 and 60 it is still out.
		{"a question may be out for longer than an interval", 24 * time.Second, 10 * time.Second, 25 * time.Second, 2, 2, 0, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := asks{took: test.took}
				during(64500*time.Millisecond, a.prober(test.interval, test.timeout))
				if a.asked.Load() != test.asked || a.reported.Load() != test.reported || a.failed.Load() != test.failed || a.skipped.Load() != test.skippings {
					t.Errorf("asked %d, reported %d, failed %d, skipped %d; want %d, %d, %d, %d", a.asked.Load(), a.reported.Load(), a.failed.Load(),
						a.skipped.Load(), test.asked, test.reported, test.failed, test.skippings)
				}
				if a.most.Load() > 1 {
					t.Errorf("%d questions were out at a time", a.most.Load())
				}
			})
		})
	}
}

// A question that is cut short by the prober's end is no failure of the worker's.
func TestProbersEndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := asks{took: time.Hour}
		during(12*time.Second, a.prober(10*time.Second, time.Minute))
		if a.asked.Load() != 1 || a.reported.Load() != 0 {
			t.Errorf("asked %d, reported %d", a.asked.Load(), a.reported.Load())
		}
	})
}

func TestProberTellsHowLongItTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := asks{took: 3 * time.Second}
		p := a.prober(10*time.Second, 5*time.Second)
		var got probe.Result
		p.Report = func(r probe.Result) { got = r }
		during(14*time.Second, p)
		if got.Err != nil || got.Took != 3*time.Second {
			t.Errorf("got %+v", got)
		}
	})
}

func TestJitterIsAShareOfTheInterval(t *testing.T) {
	for random, want := range map[float64][]time.Duration{
		0:     {10 * time.Second, 19 * time.Second, 28 * time.Second},
		0.5:   {10 * time.Second, 20 * time.Second, 30 * time.Second},
		0.999: {10 * time.Second, 20998 * time.Millisecond, 31996 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var at []time.Duration
			a := asks{}
			p := a.prober(10*time.Second, time.Second)
			p.Jitter, p.Random = 0.2, func() float64 { return random }
			p.Ask = func(context.Context) error {
				at = append(at, time.Since(began).Round(time.Millisecond))
				return errors.New("never mind")
			}
			during(32*time.Second, p)
			if len(at) != len(want) {
				t.Fatalf("asked at %v, want %v", at, want)
			}
			for i := range at {
				if at[i] != want[i] {
					t.Errorf("asked at %v, want %v", at, want)
				}
			}
		})
	}
}
