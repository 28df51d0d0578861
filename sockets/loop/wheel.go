package loop

// Wheel remembers when to look at what. It is coarse (TickEvery) and lazy: who has a deadline that moves with every
// token sets it once, and when it fires looks whether it is due and sets it again.
type Wheel struct {
	buckets [wheelSize][]entry
	tick    int64 // that was last advanced to
}

const wheelSize = 512

type entry struct {
	key uint64
	at  int64 // tick; may lie laps ahead
}

// NewWheel begins at now (nanoseconds).
func NewWheel(now int64) *Wheel { return &Wheel{tick: now / int64(TickEvery)} }

// Schedule fires key at the first tick that is not before at (nanoseconds).
func (w *Wheel) Schedule(key uint64, at int64) {
	tick := at / int64(TickEvery)
	if at%int64(TickEvery) > 0 {
		tick++
	}
	tick = max(tick, w.tick+1)
	b := &w.buckets[tick%wheelSize]
	*b = append(*b, entry{key, tick})
}

// Advance fires everything due by now. fire may schedule.
func (w *Wheel) Advance(now int64, fire func(key uint64)) {
	for to := now / int64(TickEvery); w.tick < to; {
		w.tick++
		b := &w.buckets[w.tick%wheelSize]
		due := *b
		*b = nil
		for _, e := range due {
			if e.at > w.tick {
				*b = append(*b, e)
				continue
			}
			fire(e.key)
		}
	}
}
