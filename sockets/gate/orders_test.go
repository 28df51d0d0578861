package gate

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// model is a plain picture of who waits and who is in flight, kept beside a gate that is driven in random orders.
type model struct {
	*house
	bounds  Bounds
	waiting map[Ticket]bool
	flying  map[Ticket]int64 // the life it is in flight on
	life    int64            // the last that was opened
	open    bool
	at      int64
	// had is how many turns an address had since another one's line began to wait for its own, by that one. A stream that
	// returns gives its address one turn more: it goes to the place that it had before.
	had map[uint64]map[uint64]int
}

func newModel(b Bounds) *model {
	return &model{
		house: boundedHouse(b), bounds: b, life: 1, waiting: map[Ticket]bool{}, flying: map[Ticket]int64{},
		had: map[uint64]map[uint64]int{},
	}
}

func (m *model) inFlight(life int64) (n int) {
	for _, on := range m.flying {
		if on == life {
			n++
		}
	}
	return n
}

func (m *model) waits(client uint64) bool {
	for t := range m.waiting {
		if t.Client == client {
			return true
		}
	}
	return false
}

func (m *model) wait(t Ticket) {
	if !m.waits(t.Client) {
		m.had[t.Client] = map[uint64]int{}
	}
	m.waiting[t] = true
}

// step does one thing at random. It says what the gate did wrong.
func (m *model) step(random *rand.Rand) error {
	switch random.IntN(9) {
	case 0, 1, 2:
		m.at++
		t := from(uint64(min(random.IntN(12), 4)), m.at) // the last address sends most
		if err := m.took(t, m.Enter); err != nil {
			return err
		}
	case 3, 4:
		for t, life := range m.flying {
			delete(m.flying, t)
			m.Exit(life)
			break
		}
	case 5:
		for t := range m.waiting {
			if !m.Forget(t) {
				return fmt.Errorf("%+v waits and isn't known", t)
			}
			delete(m.waiting, t)
			break
		}
	case 6:
		for t, life := range m.flying {
			delete(m.flying, t)
			for _, had := range m.had {
				had[t.Client]--
			}
			if err := m.took(t, func(t Ticket) (Verdict, int64) { return m.Return(t, life) }); err != nil {
				return err
			}
			break
		}
	case 7:
		m.open = false
		if n, want := m.Hold(m.life), m.inFlight(m.life); n != want {
			return fmt.Errorf("hold says %d in flight, there are %d", n, want)
		}
	case 8:
		m.life += int64(random.IntN(2))
		m.open = true
		m.Open(m.life)
	}
	return m.deliver()
}

// took notes what the gate says to t.
func (m *model) took(t Ticket, enter func(Ticket) (Verdict, int64)) error {
	verdict, life := enter(t)
	free := m.bounds.InFlight == 0 || m.inFlight(m.life) < m.bounds.InFlight
	switch verdict {
	case Pass:
		if !m.open || life != m.life || len(m.waiting) > 0 || !free {
			return fmt.Errorf("%+v passed to life %d; open %v for %d, %d wait", t, life, m.open, m.life, len(m.waiting))
		}
		m.flying[t] = life
	case Queued:
		if !m.open || free && len(m.waiting) == 0 {
			return fmt.Errorf("%+v was queued without need", t)
		}
		m.wait(t)
	case Held:
		if m.open {
			return fmt.Errorf("%+v was held by an open gate", t)
		}
		m.wait(t)
	case Full:
		if len(m.waiting) < m.bounds.Waiting || m.open && free {
			return fmt.Errorf("%+v was refused; %d wait", t, len(m.waiting))
		}
	case Closed:
		return fmt.Errorf("%+v was refused by a gate that is open or holds", t)
	}
	return nil
}

// deliver takes what was posted, and looks whether all is as it has to be.
func (m *model) deliver() error {
	for _, g := range m.posted {
		g.Queued = false
		if !m.waiting[g.Ticket] || g.Verdict != Pass || g.Life != m.life || !m.open {
			return fmt.Errorf("grant %+v, while the gate is open %v for %d and this one waits: %v", g, m.open, m.life, m.waiting[g.Ticket])
		}
		for t := range m.waiting {
			if t.Client == g.Client && t.compare(g.Ticket) < 0 {
				return fmt.Errorf("%+v passed before %+v of the same address", g.Ticket, t)
			}
		}
		delete(m.waiting, g.Ticket)
		m.flying[g.Ticket] = g.Life
		for other, had := range m.had {
			if had[g.Client]++; other != g.Client && had[g.Client] > 1 && m.waits(other) {
				return fmt.Errorf("address %d had %d turns while address %d waited for one", g.Client, had[g.Client], other)
			}
		}
		m.had[g.Client] = map[uint64]int{}
	}
	m.posted = nil
	s, n := m.Stats(), m.inFlight(m.life)
	switch {
	case s.Waiting != len(m.waiting) || s.InFlight != len(m.flying):
		return fmt.Errorf("stats %+v, want %d waiting and %d in flight", s, len(m.waiting), len(m.flying))
	case m.bounds.InFlight > 0 && n > m.bounds.InFlight:
		return fmt.Errorf("%d in flight on life %d, the bound is %d", n, m.life, m.bounds.InFlight)
	case m.open && len(m.waiting) > 0 && (m.bounds.InFlight == 0 || n < m.bounds.InFlight):
		return fmt.Errorf("%d wait at an open gate, with %d in flight of %d", len(m.waiting), n, m.bounds.InFlight)
	}
	return nil
}

// end opens the gate for good and lets every stream end.
func (m *model) end() error {
	m.life++
	m.open = true
	m.Open(m.life)
	for range 10_000 {
		if err := m.deliver(); err != nil {
			return err
		}
		if len(m.flying) == 0 {
			break
		}
		for t, life := range m.flying {
			delete(m.flying, t)
			m.Exit(life)
			break
		}
	}
	g := m.Gate
	if s := m.Stats(); s.Waiting != 0 || s.Queued != 0 || s.InFlight != 0 || len(g.waiting.lines)+len(g.waiting.turns)+len(g.inFlight) != 0 {
		return fmt.Errorf("in the end %+v, with %d lines and %d counts", s, len(g.waiting.lines), len(g.inFlight))
	}
	return nil
}

// TestNobodyIsForgotten drives gates in random orders beside a plain model of them: never more in flight than the
// bound, nobody waits while there is room, no address has two turns while another waits for one, no stream passes an
// older one of its address, and in the end nobody is left.
func TestNobodyIsForgotten(t *testing.T) {
	for seed := range uint64(600) {
		random := rand.New(rand.NewPCG(seed, 0))
		m := newModel(Bounds{Waiting: 12, InFlight: int(seed % 5)})
		for range 400 {
			if err := m.step(random); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if err := m.end(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
