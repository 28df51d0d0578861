package daemon

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/supervisor"
)

// household is a machine's processes, and a life among them.
type household struct {
	supervisor.Process

	mu     sync.Mutex // guards everything that follows
	starts map[int]uint64
	ours   []int
	err    error
	takes  time.Duration // a look at all
	hangs  chan struct{} // closed: a look is over at last; nil: it doesn't hang
	looks  int
}

func (h *household) Members() ([]int, error) {
	h.mu.Lock()
	h.looks++
	takes, hangs, ours, err := h.takes, h.hangs, slices.Clone(h.ours), h.err
	h.mu.Unlock()
	time.Sleep(takes)
	if hangs != nil {
		<-hangs
	}
	return ours, err
}

func (h *household) start(pid int) (uint64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	start, alive := h.starts[pid]
	return start, alive
}

func (h *household) change(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
}

// moved is a household with the worker's processes 10 and 11, and 20, which is not.
func moved() (*household, *members) {
	h := &household{starts: map[int]uint64{10: 1, 11: 1, 20: 1}, ours: []int{10, 11}, takes: 20 * time.Millisecond}
	m := &members{start: h.start}
	m.of(h)
	return h, m
}

// are lists those that are the worker's.
func are(m *members, pids ...int) (ours []int) {
	is := m.among(pids)
	for _, pid := range pids {
		if is(pid) {
			ours = append(ours, pid)
		}
	}
	return ours
}

func TestTheWorkersProcessesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, m := moved()
		if got := are(m, 10, 11, 20, 99); !slices.Equal(got, []int{10, 11}) {
			t.Errorf("%v are the worker's, want 10 and 11", got)
		}
		for range 100 { // the list stays as it is, with a stranger in it and one whom nobody knows
			time.Sleep(time.Second)
			are(m, 10, 11, 20, 99)
		}
		if h.looks != 1 {
			t.Errorf("%d looks at all processes for a list that doesn't change, want 1", h.looks)
		}
		delete(h.starts, 10) // it has ended, and is listed a little longer
		if got := are(m, 10, 20); !slices.Equal(got, []int{10}) {
			t.Errorf("after its end: %v", got)
		}
		h.starts[10], h.ours = 500, []int{11} // and its number is somebody else's
		time.Sleep(time.Minute)
		if got := are(m, 10, 11); !slices.Equal(got, []int{11}) || h.looks != 2 {
			t.Errorf("its number is used again: %v, after %d looks", got, h.looks)
		}
		m.of(nil)
		if got := are(m, 10, 11); got != nil {
			t.Errorf("there is no life: %v", got)
		}
	})
}

// TestANeighbourWhoNeverRests begins a process each second, on 8 devices.
func TestANeighbourWhoNeverRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, m := moved()
		h.takes = 100 * time.Millisecond
		began := time.Now()
		for i := range 600 {
			for gpu := range 8 {
				pid := 1000 + 8*i + gpu
				h.starts[pid] = uint64(i)
				are(m, 10, 11, pid)
			}
			time.Sleep(time.Second)
		}
		if busy := time.Duration(h.looks) * h.takes; busy > time.Since(began)/scanShare {
			t.Errorf("%d looks, %v of %v", h.looks, busy, time.Since(began))
		}
		h.starts[12], h.ours = 9999, []int{10, 11, 12} // one of ours is found for all that
		time.Sleep(3 * time.Second)
		if got := are(m, 12); !slices.Equal(got, []int{12}) {
			t.Errorf("a new one of the worker's: %v", got)
		}
		if len(m.known) > mostKnown+8 {
			t.Errorf("%d processes are kept", len(m.known))
		}
	})
}

func TestALookThatHangsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, m := moved()
		h.hangs = make(chan struct{})
		began := time.Now()
		if got := are(m, 10, 20); got != nil || time.Since(began) != scanPatience {
			t.Errorf("%v after %v", got, time.Since(began))
		}
		began = time.Now()
		if are(m, 10, 20); time.Since(began) != 0 || h.looks != 1 {
			t.Errorf("the next line waited for it, too: %v, %d looks", time.Since(began), h.looks)
		}
		m.of(h) // a start of the next life
		if took := time.Since(began); took != 0 {
			t.Errorf("the next life waited %v", took)
		}
		h.change(func() { h.ours = []int{20} })
		are(m, 10, 20)
		close(h.hangs) // the old life's answer comes, too, and counts for nothing
		synctest.Wait()
		h.change(func() { h.hangs = nil })
		time.Sleep(time.Minute)
		if got := are(m, 10, 20); !slices.Equal(got, []int{20}) {
			t.Errorf("the next life's are %v, want 20", got)
		}
	})
}

func TestALookThatFailsIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, m := moved()
		h.err = errors.New("list processes: too many open files")
		if got := are(m, 10); got != nil {
			t.Errorf("%v", got)
		}
		h.err = nil
		time.Sleep(time.Second)
		if got := are(m, 10); !slices.Equal(got, []int{10}) {
			t.Errorf("a second later: %v", got)
		}
	})
}

func TestALifeThatCannotSayHasNoProcesses(t *testing.T) {
	var m members
	if got := are(&m, 1); got != nil {
		t.Errorf("no life: %v", got)
	}
	m.of(new(struct{ supervisor.Process }))
	if got := are(&m, 1); got != nil {
		t.Errorf("somebody else's: %v", got)
	}
}
