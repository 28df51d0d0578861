package arena

import (
	"math"
	"slices"
	"testing"
	"unsafe"

	"autoglm-sidecar/sockets/http1"
)

type killed struct{}

// dieAt runs do and dies in it at the given ordered store; it says whether it came so far.
func dieAt(a *Arena, store int, do func()) (died bool) {
	n := 0
	a.Crash = func() {
		if n++; n == store {
			panic(killed{})
		}
	}
	defer func() {
		a.Crash = nil
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			died = true
		}
	}()
	do()
	return false
}

// everyDeath lets do die at each of its ordered stores in turn, and once not at all. It fails if there are none.
func everyDeath(t *testing.T, try func(die func(*Arena, func()) bool)) {
	t.Helper()
	for store := 1; ; store++ {
		died := false
		try(func(a *Arena, do func()) bool {
			died = dieAt(a, store, do)
			return died
		})
		if !died {
			if store < 3 {
				t.Errorf("there are %d stores to die at, before and after each", store-1)
			}
			return
		}
	}
}

// record is one whose every number is n.
func record(n int64) Record {
	half := Half{n, n, n, n, n}
	return Record{
		Client: int32(n), Worker: int32(n), PipeR: int32(n), PipeW: int32(n), ClientPipeR: int32(n), ClientPipeW: int32(n), Flags: Flag(n), Status: int32(n), HeadLen: int32(n), HeadAt: n,
		Life: n, Arrived: n, HoldUntil: n, Up: half, Down: half, Answer: http1.NewBody(http1.FramingLength, n),
	}
}

func TestACommitIsTheOldRecordOrTheNewOne(t *testing.T) {
	everyDeath(t, func(die func(*Arena, func()) bool) {
		a := OnHeap(2)
		first, second, third := record(1), record(2), record(3)
		a.Fill(1, &first)
		a.Commit(1, &second)
		next := third
		died := die(a, func() { a.Commit(1, &next) })
		switch got := *a.Committed(1); {
		case got != second && got != third:
			t.Errorf("after a death in a commit the record is neither the old one nor the new one: %+v", got)
		case !died && got != third:
			t.Errorf("a commit left the old record in force: %+v", got)
		}
		next.Life = 77
		if got := *a.Committed(1); got.Life == 77 {
			t.Error("the record in force is the caller's")
		}
		fourth := record(4)
		a.Commit(1, &fourth) // the next runner's
		if got := *a.Committed(1); got != fourth {
			t.Errorf("the commit after a death left %+v in force", got)
		}
		if a.Used(0) {
			t.Error("another slot is in use")
		}
	})
}

func TestACommitDiesInTheMiddleToo(t *testing.T) {
	a := OnHeap(1)
	first, second := record(1), record(2)
	a.Fill(0, &first)
	torn := false
	a.Crash = func() {
		other := a.Slot(0).records[(a.Slot(0).gen+1)&1]
		torn = torn || other != second && other != (Record{})
	}
	a.Commit(0, &second)
	if !torn {
		t.Error("no death point lies where a record is half written")
	}
}

func TestASlotExistsOnceItIsWhole(t *testing.T) {
	want := record(3)
	everyDeath(t, func(die func(*Arena, func()) bool) {
		a := OnHeap(1)
		old := record(9)
		a.Fill(0, &old) // what an earlier connection leaves
		a.Commit(0, &old)
		a.Note(&a.Slot(0).Noted.DownGiven, 99)
		a.Slot(0).ID.Set([]byte("old"))
		a.Slot(0).Suspect = 2
		a.Free(0)
		died := die(a, func() { a.Fill(0, &want) })
		if !died && !a.Used(0) {
			t.Error("a filled slot isn't in use")
		}
		if s := a.Slot(0); a.Used(0) && (*a.Committed(0) != want || s.Noted != Noted{} || s.ID.Len != 0 || s.Suspect != 0) {
			t.Errorf("the slot is in use and not whole: %+v", s)
		}
	})
}

func TestASlotIsFreedByOneStore(t *testing.T) {
	want := record(3)
	everyDeath(t, func(die func(*Arena, func()) bool) {
		a := OnHeap(1)
		a.Fill(0, &want)
		if died := die(a, func() { a.Free(0) }); !died && a.Used(0) {
			t.Error("a freed slot is in use")
		}
		if a.Used(0) && *a.Committed(0) != want {
			t.Errorf("a slot that is still in use has lost its record: %+v", *a.Committed(0))
		}
	})
}

func TestACountIsTheOldOneOrTheNewOne(t *testing.T) {
	everyDeath(t, func(die func(*Arena, func()) bool) {
		a := OnHeap(1)
		n := &a.Slot(0).Noted
		a.Note(&n.UpTaken, 5)
		died := die(a, func() { a.Note(&n.UpTaken, 1<<33) })
		if n.UpTaken != 5 && n.UpTaken != 1<<33 || !died && n.UpTaken == 5 {
			t.Errorf("died %v: the count is %d", died, n.UpTaken)
		}
	})
}

func TestFlags(t *testing.T) {
	var r Record
	r.Set(KeepAlive | Waited)
	r.Clear(KeepAlive)
	if r.Has(KeepAlive) || !r.Has(Waited) || r.Has(Reset) {
		t.Errorf("flags %b", r.Flags)
	}
}

func TestARecordNamesItsDescriptors(t *testing.T) {
	for _, test := range []struct {
		r    Record
		want []int32
	}{
		{Record{Client: 5, Worker: -1, PipeR: -1, PipeW: -1, ClientPipeR: -1, ClientPipeW: -1}, []int32{5}},
		{Record{Client: 5, Worker: 6, PipeR: -1, PipeW: -1, ClientPipeR: -1, ClientPipeW: -1}, []int32{5, 6}},
		{Record{Client: 5, Worker: 6, PipeR: 7, PipeW: 8, ClientPipeR: -1, ClientPipeW: -1}, []int32{5, 6, 7, 8}},
		{Record{Client: 5, Worker: -1, PipeR: -1, PipeW: -1, ClientPipeR: 9, ClientPipeW: 10}, []int32{5, 9, 10}},
	} {
		if got := test.r.Descriptors(); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, want %v", test.r, got, test.want)
		}
	}
}

// relaying is a slot in the middle of an answer, every number of which is one that Check must look at.
func relaying(a *Arena) *Slot {
	r := Record{
		Client: 5, Worker: 6, PipeR: 7, PipeW: 8, ClientPipeR: 9, ClientPipeW: 10, Phase: Relay, Framing: http1.FramingChunked, Flags: AnswerBegun | EventStream, Life: 1,
		HeadAt: 10, HeadLen: 20,
		Up:   Half{InBase: 5, Judged: 40, OutBase: 3, Safe: 30, Out: 30},
		Down: Half{InBase: 50, Judged: 60, OutBase: 70, Safe: 90, Out: 100},
	}
	a.Fill(0, &r)
	s := a.Slot(0)
	s.Noted = Noted{UpTaken: 45, UpGiven: 10, DownTaken: 65, DownGiven: 80, UpPiped: 20, DownPiped: 85}
	return s
}

func TestCheckLooksAtEachNumber(t *testing.T) {
	a := OnHeap(1)
	s := relaying(a)
	if err := a.Check(0); err != nil {
		t.Fatalf("a slot in the middle of an answer: %v", err)
	}
	r, n := &s.records[0], &s.Noted
	for name, number := range map[string]*int64{
		"up.in_base": &r.Up.InBase, "up.judged": &r.Up.Judged, "up.out_base": &r.Up.OutBase, "up.safe": &r.Up.Safe, "up.out": &r.Up.Out,
		"down.in_base": &r.Down.InBase, "down.judged": &r.Down.Judged, "down.out_base": &r.Down.OutBase, "down.safe": &r.Down.Safe, "down.out": &r.Down.Out,
		"up_taken": &n.UpTaken, "up_given": &n.UpGiven, "down_taken": &n.DownTaken, "down_given": &n.DownGiven, "up_piped": &n.UpPiped, "down_piped": &n.DownPiped,
		"head_at": &r.HeadAt, "suspect": &s.Suspect,
	} {
		was := *number
		below := int64(-1)
		if number == &r.Down.OutBase { // the first bytes may lie at the area's end
			below -= OutSize
		}
		for _, wrong := range []int64{below, math.MinInt64, math.MaxInt64, farthest} {
			*number = wrong
			if a.Check(0) == nil {
				t.Errorf("%s of %d can be true", name, wrong)
			}
		}
		*number = was
	}
	if err := a.Check(0); err != nil {
		t.Errorf("put right again: %v", err)
	}
}

// FuzzCheck: any bytes may lie in a slot. What passes can be worked with: each range lies in its area.
func FuzzCheck(f *testing.F) {
	a := OnHeap(1)
	size := unsafe.Sizeof(*relaying(a))
	f.Add(append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(a.Slot(0))), size)...))
	f.Add(make([]byte, size))
	f.Fuzz(func(t *testing.T, scribble []byte) {
		a := OnHeap(1)
		s := a.Slot(0)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(s)), size), scribble)
		if a.Check(0) != nil {
			return
		}
		r, n, areas := a.Committed(0), s.Noted, a.Areas(0)
		_ = areas.UpIn[r.Up.Judged-r.Up.InBase : n.UpTaken-r.Up.InBase]
		_ = areas.DownOut[n.DownGiven-r.Down.OutBase : r.Down.Safe-r.Down.OutBase]
		_ = areas.DownOut[r.Down.Safe-r.Down.OutBase : r.Down.Out-r.Down.OutBase]
		if r.Phase == Relay {
			_ = areas.DownIn[r.Down.Judged-r.Down.InBase : n.DownTaken-r.Down.InBase]
			_ = areas.UpOut[n.UpGiven-r.Up.OutBase : r.Up.Safe-r.Up.OutBase]
		}
		if r.Phase == Held {
			_ = areas.UpIn[r.HeadAt-r.Up.InBase : r.HeadAt+int64(r.HeadLen)-r.Up.InBase]
		}
		_, _, _ = r.Outcome.String(), r.Cause.String(), s.ID.Value()
	})
}
