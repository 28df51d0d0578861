package arena

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/keeper"
)

// number is a descriptor number that is taken by something else, as the fixed numbers are before an arena is placed.
func number(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// create makes an arena of a memfd, as a first runner does.
func create(t *testing.T, slots int) *Arena {
	t.Helper()
	a, err := Create(number(t), Size{Slots: slots, Blocks: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(a.mem) })
	return a
}

// open maps it once more, as the next runner does.
func open(t *testing.T, a *Arena) *Arena {
	t.Helper()
	b, found, err := Open(a.fd)
	if err != nil || !found {
		t.Fatalf("found %v, error %v", found, err)
	}
	t.Cleanup(func() { unix.Munmap(b.mem) })
	return b
}

func TestNothingInTheArenaIsAPointer(t *testing.T) {
	var walk func(at string, of reflect.Type)
	walk = func(at string, of reflect.Type) {
		switch of.Kind() {
		case reflect.Struct:
			for f := range of.Fields() {
				walk(at+"."+f.Name, f.Type)
			}
		case reflect.Array:
			walk(at+"[]", of.Elem())
		case reflect.Bool, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		default: // int, uint and uintptr too: their size isn't ours to choose
			t.Errorf("%s is a %s", at, of)
		}
	}
	for _, of := range []reflect.Type{reflect.TypeFor[Slot](), reflect.TypeFor[End](), reflect.TypeFor[header](), reflect.TypeFor[keeper.Page]()} {
		walk(of.Name(), of)
	}
}

// TestTheLayoutIsTheOneOfItsNumber: a runner goes on in the arena of another version, if both have the same Layout. Who
// changes a field or a size here changes that number too, and then the sum.
func TestTheLayoutIsTheOneOfItsNumber(t *testing.T) {
	if got, want := LayoutSum(), uint32(0x71d3f2bb); Layout != 3 || got != want {
		t.Errorf("layout %d has the sum %#x, want %#x for layout 3", Layout, got, want)
	}
}

func TestTheNextRunnerFindsEverything(t *testing.T) {
	a := create(t, 3)
	r := Record{Client: 7, Worker: -1, PipeR: -1, PipeW: -1, ClientPipeR: -1, ClientPipeW: -1, HeadAt: 99}
	a.Fill(1, &r)
	r.Phase = Linger
	a.Commit(1, &r)
	a.Note(&a.Slot(1).Noted.DownGiven, 1234)
	a.Slot(1).ID.Set([]byte("req-1"))
	copy(a.Areas(1).DownOut, "answer")
	a.Counters(2).Streams.Store(5)
	a.Mark().Restart.Store(8)
	a.Page().Tick(3)
	if err := a.Machine().Store([]byte("serving")); err != nil {
		t.Fatal(err)
	}
	if err := a.SetFront(2, "127.0.0.1:8000"); err != nil {
		t.Fatal(err)
	}
	ring, end := a.Output()
	ring[OutputSize-1], *end = 'x', 1<<40

	b := open(t, a)
	if b.Slots() != 3 || b.Founded() != a.Founded() || b.Founded() == 0 {
		t.Errorf("%d slots, founded %d; want 3, %d", b.Slots(), b.Founded(), a.Founded())
	}
	if b.Used(0) || !b.Used(1) || b.Used(2) {
		t.Errorf("used: %v %v %v, want only the second", b.Used(0), b.Used(1), b.Used(2))
	}
	if *b.Committed(1) != r || b.Slot(1).Noted.DownGiven != 1234 || string(b.Slot(1).ID.Value()) != "req-1" || !bytes.HasPrefix(b.Areas(1).DownOut, []byte("answer")) {
		t.Errorf("the slot is another: %+v, %+v", b.Committed(1), b.Slot(1))
	}
	if b.Counters(2).Streams.Load() != 5 || b.Mark().Restart.Load() != 8 || b.Page().Ticks[3] != 1 {
		t.Error("a counter is lost")
	}
	if record, err := b.Machine().Load(); err != nil || string(record) != "serving" {
		t.Errorf("the machine's record is %q, %v", record, err)
	}
	if b.Front(2) != "127.0.0.1:8000" || b.Front(0) != "" {
		t.Errorf("fronts %q and %q", b.Front(2), b.Front(0))
	}
	if ring, end := b.Output(); ring[OutputSize-1] != 'x' || *end != 1<<40 {
		t.Error("the worker's output is lost")
	}
}

// TestNobodyMayShrinkTheArena: a file that shrinks under a mapping is a SIGBUS.
func TestNobodyMayShrinkTheArena(t *testing.T) {
	a := create(t, 2)
	for _, length := range []int64{0, int64(len(a.mem)) - pageSize, int64(len(a.mem)) + pageSize} {
		if err := unix.Ftruncate(a.fd, length); err != unix.EPERM {
			t.Errorf("truncated to %d: %v, want %v", length, err, unix.EPERM)
		}
	}
	if _, err := unix.FcntlInt(uintptr(a.fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err != unix.EPERM {
		t.Errorf("sealed once more: %v, want %v", err, unix.EPERM)
	}
}

// TestTheArenaStaysHere: no worker inherits it, and no core file holds prompts.
func TestTheArenaStaysHere(t *testing.T) {
	a := create(t, 2)
	if flags, err := unix.FcntlInt(uintptr(a.fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v: it would be inherited", flags, err)
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, mapping, found := strings.Cut(string(maps), "autoglm-sidecar-arena")
	_, flags, _ := strings.Cut(mapping, "VmFlags:")
	flags, _, _ = strings.Cut(flags, "\n")
	if !found || !strings.Contains(flags, " dd") {
		t.Errorf("its mapping has the flags %q, want dd (do not dump) among them", flags)
	}
}

func TestWhatIsNoArenaIsRefused(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for name, fd := range map[string]int{"a placeholder": number(t), "a pipe": pipe[0], "nothing": 1 << 19} {
		if _, found, err := Open(fd); found || err != nil {
			t.Errorf("%s: found %v, error %v; want nothing found", name, found, err)
		}
	}
	small, err := unix.MemfdCreate("small", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(small)
	if _, _, err := Open(small); err == nil {
		t.Error("an empty file is an arena")
	}

	for name, test := range map[string]struct {
		spoil func(*Arena)
		found bool
		says  string
	}{
		"half-made":         {func(a *Arena) { a.Page().Magic = 0 }, false, ""},
		"another's":         {func(a *Arena) { a.Page().Magic = 0x6f6d656761 }, true, "0x6f6d656761"},
		"an older layout":   {func(a *Arena) { a.Page().Layout = Layout - 1 }, true, "layout 2, this program knows 3"},
		"a newer layout":    {func(a *Arena) { a.Page().Layout = Layout + 1 }, true, "layout 4, this program knows 3"},
		"more slots":        {func(a *Arena) { a.header().slots = 3 }, true, "3 slots"},
		"fewer slots":       {func(a *Arena) { a.header().slots = 1 }, true, "1 slots"},
		"a negative number": {func(a *Arena) { a.header().slots = -1 << 40 }, true, "slots"},
		"too many slots":    {func(a *Arena) { a.header().slots = 1 << 62 }, true, "slots"},
	} {
		t.Run(name, func(t *testing.T) {
			a := create(t, 2)
			test.spoil(a)
			_, found, err := Open(a.fd)
			if found != test.found || (err != nil) != (test.says != "") {
				t.Fatalf("found %v, error %v; want %v and an error of %q", found, err, test.found, test.says)
			}
			if err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %q doesn't say %q", err, test.says)
			}
		})
	}
}

// TestNoTwoThingsShareAByte fills everything with marks of its own and finds them all again.
func TestNoTwoThingsShareAByte(t *testing.T) {
	const slots = 5
	a := OnHeap(slots)
	ring, _ := a.Output()
	things := [][]byte{
		unsafe.Slice((*byte)(unsafe.Pointer(a.Page())), unsafe.Sizeof(keeper.Page{})),
		unsafe.Slice((*byte)(unsafe.Pointer(a.header())), unsafe.Sizeof(header{})),
		ring,
	}
	for i := range slots {
		areas := a.Areas(i)
		things = append(things, unsafe.Slice((*byte)(unsafe.Pointer(a.Slot(i))), unsafe.Sizeof(Slot{})), areas.UpIn, areas.UpOut, areas.DownIn, areas.DownOut)
		if len(areas.UpIn) != InSize || len(areas.DownIn) != InSize || len(areas.UpOut) != OutSize || len(areas.DownOut) != OutSize {
			t.Errorf("slot %d: areas of %d, %d, %d and %d bytes", i, len(areas.UpIn), len(areas.UpOut), len(areas.DownIn), len(areas.DownOut))
		}
		for _, area := range things[len(things)-4:] {
			if cap(area) != len(area) {
				t.Errorf("slot %d: an area of %d bytes can grow to %d", i, len(area), cap(area))
			}
		}
	}
	for i, thing := range things {
		for at := range thing {
			thing[at] = byte(i)
		}
	}
	for i, thing := range things {
		if n := bytes.Count(thing, []byte{byte(i)}); n != len(thing) {
			t.Errorf("of the %d bytes of thing %d, %d are something else's too", len(thing), i, len(thing)-n)
		}
	}
}

// blocks is how much memory lies behind a memfd, in bytes.
func blocks(t *testing.T, a *Arena) int64 {
	t.Helper()
	var file unix.Stat_t
	if err := unix.Fstat(a.fd, &file); err != nil {
		t.Fatal(err)
	}
	return file.Blocks * 512
}

// resident is how many bytes of memory of our own lie behind a mapping.
func resident(t *testing.T, a *Arena) (bytes int64) {
	t.Helper()
	pages := make([]byte, len(a.mem)/pageSize)
	if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&a.mem[0])), uintptr(len(a.mem)), uintptr(unsafe.Pointer(&pages[0]))); e != 0 {
		t.Fatal(e)
	}
	for _, page := range pages {
		bytes += int64(page&1) * pageSize
	}
	return bytes
}

func fillAreas(a *Arena, i int) {
	areas := a.Areas(i)
	for _, area := range [][]byte{areas.UpIn, areas.UpOut, areas.DownIn, areas.DownOut} {
		for at := range area {
			area[at] = 'x'
		}
	}
}

func TestWipedMemoryIsGivenBack(t *testing.T) {
	private, err := Private(Size{Slots: 3, Blocks: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(private.mem)
	for name, test := range map[string]struct {
		a    *Arena
		held func(*testing.T, *Arena) int64
	}{
		"memfd": {create(t, 3), blocks}, "private": {private, resident}, "heap": {OnHeap(3), nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := test.a
			before := int64(0)
			if test.held != nil {
				before = test.held(t, a)
			}
			fillAreas(a, 0)
			fillAreas(a, 1)
			a.WipeRequest(0)
			if areas := a.Areas(0); len(bytes.Trim(areas.UpIn, "\x00")) > 0 || bytes.Count(areas.DownIn, []byte("x")) != InSize || bytes.Count(areas.DownOut, []byte("x")) != OutSize {
				t.Error("wiping the request left some of it, or took some of the answer")
			}
			a.Wipe(0)
			areas := a.Areas(0)
			for _, area := range [][]byte{areas.UpIn, areas.UpOut, areas.DownIn, areas.DownOut} {
				if left := len(bytes.Trim(area, "\x00")); left > 0 {
					t.Errorf("%d bytes stay behind", left)
				}
			}
			areas = a.Areas(1)
			for _, area := range [][]byte{areas.UpIn, areas.UpOut, areas.DownIn, areas.DownOut} {
				if n := bytes.Count(area, []byte("x")); n != len(area) {
					t.Errorf("%d bytes of another slot are gone", len(area)-n)
				}
			}
			if test.held == nil {
				return
			}
			a.Wipe(1)
			for i := range 2 { // reading a hole may have filled it with pages of zeros
				a.Wipe(i)
			}
			if after := test.held(t, a); after != before {
				t.Errorf("%d bytes are held, %d were before", after, before)
			}
		})
	}
}

func TestTheMachinesRecord(t *testing.T) {
	a := create(t, 1)
	m := a.Machine()
	if record, err := m.Load(); err != nil || len(record) != 0 {
		t.Errorf("before it was ever stored: %q, %v", record, err)
	}
	long := bytes.Repeat([]byte("r"), RecordSize)
	for _, record := range [][]byte{[]byte("first"), long, {}, []byte("second")} {
		if err := m.Store(record); err != nil {
			t.Fatal(err)
		}
		if got, err := open(t, a).Machine().Load(); err != nil || !bytes.Equal(got, record) {
			t.Errorf("stored %q, loaded %q, %v", record, got, err)
		}
	}
	if err := m.Store(append(long, 'r')); err == nil {
		t.Error("a record that is too long is stored")
	}
	// A death in the middle of a store: the copy that isn't in force is half written.
	h := &a.header().machine
	other := (h.gen.Load() + 1) & 1
	h.length[other] = 77
	copy(h.copies[other][:], "half a reco")
	if got, err := m.Load(); err != nil || string(got) != "second" {
		t.Errorf("after half a store: %q, %v; want the record before", got, err)
	}
	got, _ := m.Load()
	got[0] = 'X'
	if again, _ := m.Load(); string(again) != "second" {
		t.Error("what Load returns is the arena's own")
	}
	for _, length := range []int64{-1, RecordSize + 1} {
		h.length[h.gen.Load()&1] = length
		if _, err := m.Load(); err == nil {
			t.Errorf("a record of %d bytes is loaded", length)
		}
	}
}

func TestFrontAddressesFit(t *testing.T) {
	a := OnHeap(1)
	longest := strings.Repeat("a", 248)
	if err := a.SetFront(3, longest); err != nil || a.Front(3) != longest {
		t.Errorf("%v, %q", err, a.Front(3))
	}
	if err := a.SetFront(3, longest+"a"); err == nil {
		t.Error("an address that is too long is noted")
	}
	if err := a.SetFront(3, "short"); err != nil || a.Front(3) != "short" {
		t.Errorf("%v, %q", err, a.Front(3))
	}
}

func TestEachLoopHasCountersOfItsOwn(t *testing.T) {
	a := OnHeap(1)
	for i := range MaxLoops {
		a.Counters(i).Streams.Store(int64(i) + 1)
	}
	for i := range MaxLoops {
		if n := a.Counters(i).Streams.Load(); n != int64(i)+1 {
			t.Errorf("loop %d: %d, want %d", i, n, i+1)
		}
	}
}

func TestMaxIsTheLargestOfAll(t *testing.T) {
	longest := &OnHeap(1).Counters(0).LongestHold
	var all sync.WaitGroup
	for of := range int64(4) {
		all.Go(func() {
			for v := range int64(1000) {
				Max(longest, v*4+of)
			}
		})
	}
	all.Wait()
	if n := longest.Load(); n != 3999 {
		t.Errorf("%d, want 3999", n)
	}
	if Max(longest, 5); longest.Load() != 3999 {
		t.Error("it got smaller")
	}
}

func TestEachOutcomeAndCauseHasAName(t *testing.T) {
	seen := map[string]bool{}
	for o := range outcomes {
		seen[o.String()] = true
	}
	for c := NoCause + 1; c < causes; c++ {
		seen["cut: "+c.String()] = true
	}
	if want := int(outcomes) + int(causes) - 1; len(seen) != want || seen[""] || seen["cut: "] {
		t.Errorf("%d names, want %d, none of them empty: %v", len(seen), want, seen)
	}
}
