package loop

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is a wheel that is nothing but a list.
type model struct {
	tick int64
	due  []entry
}

// schedule mirrors Schedule: the first tick not before at, and after the one that is now.
func (m *model) schedule(key uint64, at int64) {
	tick := int64(math.Ceil(float64(at) / float64(TickEvery)))
	m.due = append(m.due, entry{key, max(tick, m.tick+1)})
}

// advance returns what is due, tick by tick, in order of keys where ticks are the same.
func (m *model) advance(now int64) (fired []entry) {
	m.tick = max(m.tick, now/int64(TickEvery))
	m.due = slices.DeleteFunc(m.due, func(e entry) bool {
		if e.at <= m.tick {
			fired = append(fired, e)
		}
		return e.at <= m.tick
	})
	return sorted(fired)
}

func sorted(fired []entry) []entry {
	slices.SortFunc(fired, func(a, b entry) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key)) })
	return fired
}

// TestTheWheelIsAList schedules and advances at random, across laps, late, and not at all, and compares with the model:
// each key fires once for each time that it was scheduled, at its own tick, none early, none in another's place.
func TestTheWheelIsAList(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		now := r.Int64N(1 << 50)
		w, m := NewWheel(now), &model{tick: now / int64(TickEvery)}
		for step := range 300 {
			key := r.Uint64N(20)
			switch r.IntN(4) {
			case 0, 1:
				at := now + r.Int64N(1<<(20+r.IntN(18))) - int64(TickEvery) // up to five laps ahead, or past
				w.Schedule(key, at)
				m.schedule(key, at)
			case 2:
				now += r.Int64N(3 * int64(TickEvery))
			case 3:
				now += r.Int64N(1 << (20 + r.IntN(19))) // late, by laps
			}
			if r.IntN(3) > 0 {
				var got []entry
				last := w.tick
				w.Advance(now, func(key uint64) {
					if w.tick < last {
						t.Fatalf("seed %d, step %d: tick %d after %d", seed, step, w.tick, last)
					}
					last = w.tick
					got = append(got, entry{key, w.tick})
				})
				if want := m.advance(now); !slices.Equal(sorted(got), want) {
					t.Fatalf("seed %d, step %d: fired %v, want %v", seed, step, got, want)
				}
			}
		}
		if got := held(w); got != len(m.due) {
			t.Errorf("seed %d: the wheel holds %d entries, want %d", seed, got, len(m.due))
		}
	}
}

func held(w *Wheel) (n int) {
	for _, b := range w.buckets {
		n += len(b)
	}
	return n
}

// TestWhatFiresMayScheduleItself is how a deadline moves on: lazily, when it fires.
func TestWhatFiresMayScheduleItself(t *testing.T) {
	const every = int64(TickEvery)
	for _, ahead := range []int64{0, every, 7 * every, wheelSize * every, (wheelSize + 1) * every, 3 * wheelSize * every} {
		t.Run(fmt.Sprint(time.Duration(ahead)), func(t *testing.T) {
			w := NewWheel(0)
			w.Schedule(1, every)
			fired := 0
			for now := int64(0); fired < 5; now += every {
				if now > 10*(ahead+every)*5 {
					t.Fatalf("fired %d times by %v", fired, time.Duration(now))
				}
				w.Advance(now, func(uint64) {
					fired++
					w.Schedule(1, now+ahead)
					if due := max(now+ahead, now+every); now > 0 && due <= now {
						t.Fatal("due at once")
					}
				})
			}
			if n := held(w); n != 1 {
				t.Errorf("%d entries are left, want 1", n)
			}
		})
	}
}

// TestAWheelThatStoodStillFiresEachOnce: its loop was frozen for many laps, and who fires schedules anew from then on.
func TestAWheelThatStoodStillFiresEachOnce(t *testing.T) {
	const every, late = int64(TickEvery), int64(10 * wheelSize * int64(TickEvery))
	w := NewWheel(0)
	for key := range uint64(100) {
		w.Schedule(key, int64(key)*37*every)
	}
	fired := map[uint64]int{}
	w.Advance(late, func(key uint64) {
		fired[key]++
		w.Schedule(key, late+5*every)
	})
	for key := range uint64(100) {
		if fired[key] != 1 {
			t.Errorf("key %d fired %d times, want once", key, fired[key])
		}
	}
	w.Advance(late+4*every, func(key uint64) { t.Errorf("key %d fired early", key) })
	again := 0
	w.Advance(late+5*every, func(uint64) { again++ })
	if again != 100 {
		t.Errorf("%d fired again, want 100", again)
	}
}

// TestTimesAtTheEndsOfTime: a slot that was scribbled over may ask for any.
func TestTimesAtTheEndsOfTime(t *testing.T) {
	w := NewWheel(1 << 40)
	now := int64(1<<40) + int64(time.Hour)
	fired := map[uint64]bool{}
	for key, at := range []int64{math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, -1, 0, 1} {
		w.Schedule(uint64(key), at)
	}
	w.Advance(now, func(key uint64) { fired[key] = true })
	for key, want := range []bool{false, false, true, true, true, true} {
		if fired[uint64(key)] != want {
			t.Errorf("key %d fired: %v, want %v", key, fired[uint64(key)], want)
		}
	}
}

func TestAClockThatStandsStillFiresNothing(t *testing.T) {
	w := NewWheel(int64(time.Hour))
	w.Schedule(1, 0)
	for _, now := range []int64{int64(time.Hour), int64(time.Hour) + int64(TickEvery) - 1, 0} {
		w.Advance(now, func(uint64) { t.Errorf("fired at %v", time.Duration(now)) })
	}
	fired := 0
	w.Advance(int64(time.Hour)+int64(TickEvery), func(uint64) { fired++ })
	if fired != 1 {
		t.Errorf("fired %d times, want once", fired)
	}
}
