package relay

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"math"
	"slices"
	"testing"
	"unsafe"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/kernel/fake"
)

func TestEachStoreLeavesSlotsThatCanBeTrue(t *testing.T) {
	for _, by := range allWays {
		for seed := range uint64(5) {
			w, want := busyBy(t, seed, by)
			stores := 0
			w.arena.Crash = func() {
				stores++
				for i := range w.arena.Slots() {
					if w.arena.Used(i) {
						if err := w.arena.Check(i); err != nil {
							t.Fatalf("seed %d, %v, store %d: slot %d: %v\n%+v\n%+v", seed, by, stores, i, err, w.arena.Committed(i), w.arena.Slot(i).Noted)
						}
					}
				}
			}
			w.start()
			if _, err := w.run(); err != nil {
				t.Fatal(err)
			}
			if err := whole(w, want); err != nil {
				t.Fatal(err)
			}
			if stores < 100 {
				t.Errorf("only %d stores were looked at", stores)
			}
		}
	}
}

// ruin is a busy world whose runner has died and in which one slot, the victim's, is spoilt.
type ruin struct {
	*world
	want   []string
	victim int           // its slot
	client *client       // its client
	r      *arena.Record // its record in force
	slot   *arena.Slot
	areas  arena.Areas
}

// wreck runs a busy world until the first client's answer has begun or, held, until its request waits at the gate; and
// lets the runner die.
func wreck(t testing.TB, by ways, held bool) *ruin {
	w, want := busyBy(t, 5, by)
	w.open = !held
	w.start()
	m := &ruin{world: w, want: want, client: w.clients[0]}
	for range 10_000 {
		w.step()
		if m.find(0); m.r == nil {
			continue
		}
		begun := m.r.Phase == arena.Relay && m.r.Has(arena.AnswerBegun) && m.slot.Noted.DownGiven > 500 && m.r.Down.Safe < m.r.Down.Out
		if held && m.r.Phase == arena.Held || !held && begun {
			w.open = true // for the next runner
			return m
		}
	}
	t.Fatal("the victim never got there")
	return nil
}

// find makes the given client's connection the victim; r stays nil where it has none.
func (m *ruin) find(client int) {
	m.r = nil
	for i := range m.arena.Slots() {
		if m.arena.Used(i) && m.arena.Committed(i).Client == m.clients[client].end.Descriptor() {
			m.victim, m.r, m.slot, m.areas = i, m.arena.Committed(i), m.arena.Slot(i), m.arena.Areas(i)
		}
	}
}

// another is the record of a slot that isn't the victim's.
func (m *ruin) another() *arena.Record {
	for i := range m.arena.Slots() {
		if i != m.victim && m.arena.Used(i) {
			return m.arena.Committed(i)
		}
	}
	m.t.Fatal("there is no other slot")
	return nil
}

func TestASlotThatCannotBeTrueIsCutAlone(t *testing.T) {
	const far = math.MaxInt64
	for name, spoil := range map[string]func(m *ruin){
		"phase":                               func(m *ruin) { m.r.Phase = 200 },
		"outcome":                             func(m *ruin) { m.r.Outcome = 99 },
		"cause":                               func(m *ruin) { m.r.Cause = 99 },
		"framing":                             func(m *ruin) { m.r.Framing = 17 },
		"flags":                               func(m *ruin) { m.r.Flags = ^arena.Flag(0) },
		"flags of no answer":                  func(m *ruin) { m.r.Clear(arena.AnswerBegun) },
		"no life":                             func(m *ruin) { m.r.Life = 0 },
		"negative offset":                     func(m *ruin) { m.r.Down.OutBase = -1 - arena.OutSize },
		"offset beyond all bounds":            func(m *ruin) { m.r.Down.Safe, m.r.Down.Out = far, far },
		"bases beyond all bounds":             func(m *ruin) { m.r.Up.InBase, m.r.Up.Judged, m.slot.Noted.UpTaken = far, far, far },
		"judged before the base":              func(m *ruin) { m.r.Down.InBase = m.r.Down.Judged + 1 },
		"judged what wasn't taken":            func(m *ruin) { m.r.Up.Judged = m.slot.Noted.UpTaken + 1 },
		"safe before the base":                func(m *ruin) { m.r.Down.OutBase = m.r.Down.Safe + 1 },
		"safe behind the end":                 func(m *ruin) { m.r.Down.Safe = m.r.Down.Out + 1 },
		"more output than fits":               func(m *ruin) { m.r.Down.Out = m.r.Down.OutBase + arena.OutSize + 1 },
		"no room for the end":                 func(m *ruin) { m.r.Down.Out = m.r.Down.OutBase + arena.OutSize - 5 },
		"less of an event than its size line": func(m *ruin) { m.r.Down.Out = m.r.Down.Safe + 6 },
		"held back from the worker":           func(m *ruin) { m.r.Up.Safe-- },
		"taken and not there":                 func(m *ruin) { m.slot.Noted.UpTaken++ },
		"taken from the worker":               func(m *ruin) { m.slot.Noted.DownTaken++ },
		"given and not there":                 func(m *ruin) { m.kernel.Skew(m.r.Client, 0, -1) },
		"read and not there":                  func(m *ruin) { m.kernel.Skew(m.r.Worker, -1, 0) },
		"sent and not committed":              func(m *ruin) { m.kernel.Skew(m.r.Client, 0, 1<<16) },
		"read beyond the area":                func(m *ruin) { m.kernel.Skew(m.r.Client, 1<<17, 0) },
		"read beyond the other":               func(m *ruin) { m.kernel.Skew(m.r.Worker, 1<<17, 0) },
		"client that isn't open":              func(m *ruin) { m.r.Client = 9999 },
		"no client":                           func(m *ruin) { m.r.Client = -1 },
		"worker for a client":                 func(m *ruin) { m.r.Client, m.r.Worker = m.r.Worker, m.r.Client },
		"the front for a client":              func(m *ruin) { m.r.Client = fake.Front },
		"the front for a worker":              func(m *ruin) { m.r.Worker = fake.Front },
		"no worker":                           func(m *ruin) { m.r.Worker = -1 },
		"half a pipe":                         func(m *ruin) { m.r.PipeW = 200 },
		"scanner":                             func(m *ruin) { *(*byte)(unsafe.Pointer(&m.r.Events)) = 77 },
		"request id's length":                 func(m *ruin) { m.slot.ID.Len = 129 },
		"request id's sign":                   func(m *ruin) { m.slot.ID.Len = -1 },
		"request id's bytes":                  func(m *ruin) { m.slot.ID.Set([]byte("x\r\nSet-Cookie: y")) },
		"suspected":                           func(m *ruin) { m.slot.Suspect = math.MinInt64 },
		"all ones":                            func(m *ruin) { m.fill(0xff) },
		"all zeros":                           func(m *ruin) { m.fill(0); m.bytes()[0] = 1 },
		"mark of use":                         func(m *ruin) { m.bytes()[1] = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			m := wreck(t, ways{}, false)
			spoil(m)
			m.checkCutAlone(1)
		})
	}
	for name, spoil := range map[string]func(m *ruin){
		"ends of the pipe swapped": func(m *ruin) { m.r.PipeR, m.r.PipeW = m.r.PipeW, m.r.PipeR },
		"a socket for a pipe":      func(m *ruin) { m.r.Worker, m.r.PipeR = m.r.PipeR, m.r.Worker },
		"one end for both":         func(m *ruin) { m.r.PipeR = m.r.PipeW },
		"more piped than judged":   func(m *ruin) { m.slot.Noted.UpPiped = m.r.Up.Safe + 1 },
		"more given than piped":    func(m *ruin) { m.slot.Noted.UpPiped = m.slot.Noted.UpGiven - 1 },
	} {
		t.Run("unix/"+name, func(t *testing.T) {
			m := wreck(t, ways{unixWorker: true}, false)
			spoil(m)
			m.checkCutAlone(1)
		})
	}
	for name, spoil := range map[string]func(m *ruin){
		"ends of the pipe swapped":    func(m *ruin) { m.r.ClientPipeR, m.r.ClientPipeW = m.r.ClientPipeW, m.r.ClientPipeR },
		"a socket for a pipe":         func(m *ruin) { m.r.Client, m.r.ClientPipeR = m.r.ClientPipeR, m.r.Client },
		"one end for both":            func(m *ruin) { m.r.ClientPipeR = m.r.ClientPipeW },
		"half a pipe":                 func(m *ruin) { m.r.ClientPipeR = -1 },
		"no pipe":                     func(m *ruin) { m.r.ClientPipeR, m.r.ClientPipeW = -1, -1 },
		"more piped than may be sent": func(m *ruin) { m.slot.Noted.DownPiped = m.r.Down.Safe + 1 },
		"more given than piped":       func(m *ruin) { m.slot.Noted.DownPiped = m.slot.Noted.DownGiven - 1 },
		"negative count":              func(m *ruin) { m.slot.Noted.DownPiped = -1 },
		"another front":               func(m *ruin) { m.r.Front = 0 },
		"no front":                    func(m *ruin) { m.r.Front = 2 },
		"a front beyond all":          func(m *ruin) { m.r.Front = arena.MaxFronts },
	} {
		t.Run("unix client/"+name, func(t *testing.T) {
			m := wreck(t, ways{unixWorker: true, unixFront: true}, false)
			spoil(m)
			m.checkCutAlone(1)
		})
	}
	for name, spoil := range map[string]func(m *ruin){
		"head before its area":    func(m *ruin) { m.r.Up.InBase, m.r.HeadAt, m.r.Up.Judged = 10, 5, 5 },
		"head behind what came":   func(m *ruin) { m.r.HeadLen = int32(m.slot.Noted.UpTaken) + 1 },
		"head without a byte":     func(m *ruin) { m.r.HeadLen = 0 },
		"head of negative length": func(m *ruin) { m.r.HeadLen = -1 },
		"head too long":           func(m *ruin) { m.r.HeadLen = http1.MaxHead + 1 },
		"head cut short":          func(m *ruin) { m.r.HeadLen-- },
		"head no longer parses":   func(m *ruin) { copy(m.areas.UpIn, "GE T") },
		"head wiped":              func(m *ruin) { clear(m.areas.UpIn) },
		"head of another method":  func(m *ruin) { m.r.Method = http1.MethodHead },
		"judged beyond the head":  func(m *ruin) { m.r.Up.Judged++ },
		"a worker":                func(m *ruin) { m.r.Worker = 200 },
		"an answer begun":         func(m *ruin) { m.r.Set(arena.AnswerBegun) },
		"lives beyond all":        func(m *ruin) { m.r.Lives = 3 },
		"crashes beyond all":      func(m *ruin) { m.r.Crashes = 200 },
		"a copy that isn't there": func(m *ruin) { m.r.Kept = m.slot.Noted.UpTaken - m.r.HeadAt },
		"a copy of half a head":   func(m *ruin) { m.r.Kept = 5 },
		"a copy of what hasn't come": func(m *ruin) {
			m.claim(0)
			m.r.Kept = m.slot.Noted.UpTaken - m.r.HeadAt + 1
		},
		"a copy of garbage": func(m *ruin) {
			m.claim(0)
			m.r.Kept, m.r.Up.InBase = m.slot.Noted.UpTaken-m.r.HeadAt, m.slot.Noted.UpTaken
		},
		"a copy behind a gap": func(m *ruin) {
			m.claim(0)
			copy(m.arena.Block(0), m.areas.UpIn)
			m.r.Kept, m.r.Up.InBase = int64(m.r.HeadLen), m.r.HeadAt+int64(m.r.HeadLen)+1
		},
		"a copy of which two blocks are the first": func(m *ruin) {
			m.claim(0)
			m.claim(0)
			copy(m.arena.Block(0), m.areas.UpIn)
			copy(m.arena.Block(1), m.areas.UpIn)
			m.r.Kept = int64(m.r.HeadLen)
		},
		"lost on no life":       func(m *ruin) { m.r.LostOn = -1 },
		"given from beyond all": func(m *ruin) { m.r.GivenFrom = -1 },
	} {
		t.Run("held/"+name, func(t *testing.T) {
			m := wreck(t, ways{}, true)
			spoil(m)
			m.checkCutAlone(1)
		})
	}
}

// claim takes a block for the victim.
func (m *ruin) claim(place int32) { m.arena.Claim(int32(m.victim), place) }

// bytes are those of the victim's slot.
func (m *ruin) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(m.slot)), unsafe.Sizeof(*m.slot))
}

func (m *ruin) fill(with byte) {
	for i := range m.bytes() {
		m.bytes()[i] = with
	}
}

// checkCutAlone lets a runner take over and checks that it found so many impossible slots, gave the victim's client no
// byte more, ended its connection loudly, and served everyone else as if nothing had happened.
func (m *ruin) checkCutAlone(impossible int64) {
	m.t.Helper()
	m.drain()
	had := len(m.client.got)
	m.start()
	if n := m.relay.counts().TakeOver.Impossible; n != impossible {
		m.t.Fatalf("%d impossible slots, want %d", n, impossible)
	}
	if _, err := m.run(); err != nil {
		m.t.Fatal(err)
	}
	if len(m.client.got) != had {
		m.t.Errorf("the victim's client was given %q", m.client.got[had:])
	}
	if _, err := m.client.responses(); err == nil || !m.client.ended {
		m.t.Errorf("the victim's client takes %q for the end", tail(m.client.got))
	}
	for i, c := range m.clients {
		if c != m.client {
			if err := c.whole(i, m.want[i]); err != nil {
				m.t.Error(err)
			}
		}
	}
	if err := m.uploaded(); err != nil {
		m.t.Error(err)
	}
	if n := m.relay.counts().Outcomes["cut"]; n != impossible {
		m.t.Errorf("%d streams counted as cut, want %d", n, impossible)
	}
}

// drain lets each client read what it was given so far.
func (m *ruin) drain() {
	for _, c := range m.clients {
		b, _, _ := c.end.Read(math.MaxInt)
		c.got = append(c.got, b...)
	}
}

func TestTwoSlotsThatNameOneDescriptorAreCutBoth(t *testing.T) {
	for name, share := range map[string]func(mine, other *arena.Record){
		"client":    func(mine, other *arena.Record) { mine.Client = other.Client },
		"worker":    func(mine, other *arena.Record) { mine.Worker = other.Worker },
		"crosswise": func(mine, other *arena.Record) { mine.Worker = other.Client },
	} {
		t.Run(name, func(t *testing.T) {
			m := wreck(t, ways{}, false)
			other := m.another()
			for i, c := range m.clients {
				if c.end.Descriptor() == other.Client {
					m.want[i] = "" // it is cut too
					m.find(0)
				}
			}
			share(m.r, other)
			m.start()
			if n := m.relay.counts().TakeOver.Impossible; n != 2 {
				t.Fatalf("%d impossible slots, want 2", n)
			}
			if _, err := m.run(); err != nil {
				t.Fatal(err)
			}
			for i, c := range m.clients {
				_, err := c.responses()
				switch cut := c == m.client || m.want[i] == "" && i != 3; {
				case cut && err == nil && !c.broken:
					t.Errorf("client %d takes %q for the end", i, tail(c.got))
				case !cut:
					if err := c.whole(i, m.want[i]); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// spoilAll makes every slot one that can't be true.
func spoilAll(a *arena.Arena) {
	for i := range a.Slots() {
		if a.Used(i) {
			a.Committed(i).Up.InBase = -1
		}
	}
}

// TestAnUntouchedClientOfASpoiltSlotBeginsAnew: nothing was read from it and nothing was said to it, so nothing is lost,
// and its connection has a quiet end.
func TestAnUntouchedClientOfASpoiltSlotBeginsAnew(t *testing.T) {
	w := begin(t, map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}})
	end := w.kernel.Client()
	w.moves(3)
	spoilAll(w.arena)
	w.start()
	if n := w.relay.counts().TakeOver; n.Impossible != 1 || n.Adopted != 1 {
		t.Errorf("%+v, want one slot impossible and its client adopted", n)
	}
	end.Write([]byte("GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	w.moves(20)
	w.passTime(2 * lingerIdle) // it does not close, so we do
	if !end.Closed() {
		t.Error("the connection is still open")
	}
	b, _, _ := end.Read(math.MaxInt)
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(b, []byte("\r\n\r\nok")) {
		t.Errorf("got %q", b)
	}
	if _, ended, broken := end.Read(1); !ended || broken {
		t.Errorf("ended %v, broken off %v; want an end without an RST", ended, broken)
	}
}

// TestASpoiltSlotIsLoudWithoutFraming: an answer that ends with its connection must not seem to end here.
func TestASpoiltSlotIsLoudWithoutFraming(t *testing.T) {
	w := begin(t, map[string]answer{"/x": {bytes: "HTTP/1.0 200 OK\r\n\r\n" + pattern(50_000)}})
	c := w.connect("GET /x HTTP/1.0\r\nHost: x\r\n\r\n")
	for len(c.got) < 10_000 {
		w.step()
	}
	spoilAll(w.arena)
	w.start()
	w.finish()
	if !c.broken {
		t.Errorf("%d bytes of an answer end as if they were whole", len(c.got))
	}
}

func TestAConnectionToTheWorkerIsNobodysClient(t *testing.T) {
	w := begin(t, nil)
	c := w.connect()
	w.moves(3)
	worker, _ := w.kernel.Connect(kernel.Address{})
	for i := range w.arena.Slots() {
		if w.arena.Used(i) {
			w.arena.Committed(i).Client = worker.Socket
		}
	}
	w.start()
	if n := w.relay.counts().TakeOver; n.Impossible != 1 || n.Adopted != 1 || n.Orphans != 1 {
		t.Errorf("%+v, want the slot impossible, its client adopted and the worker's connection closed", n)
	}
	if c.end.Closed() {
		t.Error("the client's connection is closed")
	}
}

// TestAnAnswerWhoseEndIsOutIsNotCut: our FIN was sent and not noted, and the client has left since. The kernel then
// counts FINs as bytes, and nobody asks it.
func TestAnAnswerWhoseEndIsOutIsNotCut(t *testing.T) {
	w := begin(t, map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}})
	c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	w.kernel.Hook = func(call string) {
		if call == "halfclosed" {
			w.kernel.Hook = nil
			panic(killed{})
		}
	}
	w.successor = func() {
		c.act(w) // reads to the end, and closes
		c.act(w)
		w.start()
	}
	w.finish()
	w.moves(3)
	if n := w.relay.counts(); n.TakeOver.Impossible != 0 || n.TakeOver.Mended != 1 || n.Outcomes["cut"] != 0 || n.Outcomes["complete"] == 0 {
		t.Errorf("%+v, want the answer complete", n)
	}
}

// TestAStreamThatKillsItsRunnersIsCutAfterThree: what Check can't see (a framing scanner is closed to it) may still kill
// the runner that goes on with it, but not for ever, and nobody else.
func TestAStreamThatKillsItsRunnersIsCutAfterThree(t *testing.T) {
	m := wreck(t, ways{}, false)
	*(*int64)(unsafe.Pointer(&m.r.Answer)) = -1 << 40
	m.forgives = func(any) bool { return true }
	deaths := m.survive(m.start)
	died, err := m.run()
	if err != nil {
		t.Fatal(err)
	}
	if deaths += died; deaths != 3 {
		t.Errorf("%d deaths, want 3", deaths)
	}
	if n := m.relay.counts().TakeOver.Poisoned; n != 1 {
		t.Errorf("%d slots poisoned, want 1", n)
	}
	loud(t, m.client)
	for i, c := range m.clients[1:] {
		if err := c.whole(i+1, m.want[i+1]); err != nil {
			t.Error(err)
		}
	}
}

// spoil writes what a fuzzer wants into a slot, its areas and the kernel's counters: orders of 12 bytes, each an
// operation, which of several things, a place and a value.
func (m *ruin) spoil(orders []byte) {
	own := m.r.Descriptors()
	for len(orders) > 0 {
		var order [12]byte
		orders = orders[copy(order[:], orders):]
		which, at := int(order[1]), int(binary.LittleEndian.Uint16(order[2:]))
		value := int64(binary.LittleEndian.Uint64(order[4:]))
		slot := m.bytes()
		m.r = m.arena.Committed(m.victim)
		switch order[0] % 6 {
		case 0:
			binary.NativeEndian.PutUint64(slot[at%(len(slot)-8):], uint64(value))
		case 1: // near to the truth
			word := slot[at%(len(slot)/8)*8:]
			binary.NativeEndian.PutUint64(word, binary.NativeEndian.Uint64(word)+uint64(int64(int32(value))))
		case 2:
			slot[at%len(slot)] = byte(value)
		case 3:
			open, _ := m.kernel.Descriptors()
			candidates := append(open, -1, -2, 0, 1, fake.Front, 9999, math.MaxInt32)
			*[]*int32{&m.r.Client, &m.r.Worker, &m.r.PipeR, &m.r.PipeW, &m.r.ClientPipeR, &m.r.ClientPipeW}[which%6] = candidates[at%len(candidates)]
		case 4:
			m.kernel.Skew(own[which%len(own)], int64(int32(value)), int64(int32(value>>32)))
		case 5:
			area := [][]byte{m.areas.UpIn, m.areas.UpOut, m.areas.DownIn, m.areas.DownOut}[which%4]
			area[at%len(area)] = byte(value)
		}
	}
	m.r = m.arena.Committed(m.victim)
}

// FuzzSlotRecovery lets a busy world's runner die at any point, writes anything into one of its slots, and lets another
// runner take over. That one may cut the slot's stream, and must serve all others as if nothing had happened. What it
// keeps must be open and named once, and what it gives the slot's client must be what the slot says was committed.
func FuzzSlotRecovery(f *testing.F) {
	for _, order := range lossOrders() {
		for _, at := range []uint16{100, 600, 1100} {
			f.Add(at == 600, false, at == 1100, at, uint8(at), order)
		}
	}
	f.Fuzz(spoilAndRecover)
}

func spoilAndRecover(t *testing.T, overUnix, unixFront, held bool, at uint16, slot uint8, orders []byte) {
	w, want := busyBy(lenient{t}, uint64(at%7), ways{overUnix, unixFront})
	w.options = func(o *Options) { o.Log = slog.New(slog.DiscardHandler) }
	w.open = !held
	m := &ruin{world: w, want: want}
	m.dieAt(1 + int(at)%1500)
	if !m.choose(int(slot)) {
		return // there is no slot yet
	}
	m.drain()
	before := *m.r
	m.spoil(orders)
	if m.r.Request != before.Request || m.r.Answer != before.Answer || m.r.Has(arena.LastChunkDown) != before.Has(arena.LastChunkDown) {
		m.forgives = func(any) bool { return true } // Check can't see through these: the third death ends it
	}
	m.recover(t, len(orders) == 0)
}

// lossOrders spoil what a record says of lost lives and copies, in either of a slot's two records.
func lossOrders() (all [][]byte) {
	a := arena.OnHeap(1)
	a.Fill(0, &arena.Record{})
	first := uintptr(unsafe.Pointer(a.Committed(0))) - uintptr(unsafe.Pointer(a.Slot(0)))
	var r arena.Record
	for _, record := range []uintptr{first, first + unsafe.Sizeof(r)} {
		order := func(op byte, field uintptr, value int64) {
			at := binary.LittleEndian.AppendUint16([]byte{op, 0}, uint16(record+field))
			all = append(all, binary.LittleEndian.AppendUint64(at, uint64(value)))
		}
		for _, field := range []uintptr{unsafe.Offsetof(r.Kept), unsafe.Offsetof(r.LostOn), unsafe.Offsetof(r.GivenFrom)} {
			for _, value := range []int64{-1, 1, 50, arena.BlockSize, 1 << 40} {
				order(0, field, value)
			}
		}
		for _, value := range []int64{1, 2, 3, 255} {
			order(2, unsafe.Offsetof(r.Lives), value)
			order(2, unsafe.Offsetof(r.Crashes), value)
		}
		for bit := range 8 { // of the flags
			order(2, unsafe.Offsetof(r.Flags)+1, 1<<bit)
			order(2, unsafe.Offsetof(r.Flags)+2, 1<<bit)
		}
	}
	return all
}

// lenient is for a world in which a worker may be sent anything.
type lenient struct{ testing.TB }

func (lenient) Errorf(string, ...any) {}

// dieAt runs the world until so many kernel calls and stores were made, and lets the runner die there.
func (m *ruin) dieAt(points int) {
	point := func() {
		if points--; points == 0 {
			panic(killed{})
		}
	}
	m.kernel.Hook, m.arena.Crash = func(string) { point() }, point
	dead := false
	m.successor = func() { dead = true }
	m.survive(m.start)
	for done := false; !done && !dead && m.steps < 500; {
		done, _ = m.step()
	}
	m.kernel.Hook, m.arena.Crash, m.successor = nil, nil, nil
	m.open = true
}

// choose makes one of the slots in use the victim's.
func (m *ruin) choose(n int) bool {
	var used []int
	for i := range m.arena.Slots() {
		if m.arena.Used(i) {
			used = append(used, i)
		}
	}
	if len(used) == 0 {
		return false
	}
	i := used[n%len(used)]
	m.victim, m.r, m.slot, m.areas = i, m.arena.Committed(i), m.arena.Slot(i), m.arena.Areas(i)
	for _, c := range m.clients {
		if c.end.Descriptor() == m.r.Client {
			m.client = c
		}
	}
	return true
}

// recover lets a runner take over a spoilt world, and checks what it does. Where nothing was spoilt, the victim is like
// the others.
func (m *ruin) recover(t *testing.T, harmless bool) {
	excused := m.sharers()
	m.kernel.Hook = func(call string) {
		switch call {
		case "read", "send", "pipe", "pour", "connect", "accept":
			t.Fatalf("a take-over calls %s", call)
		}
	}
	m.takeOver()
	m.kernel.Hook = nil
	m.checkKept(t)

	fd, had := m.client.end.Descriptor(), len(m.client.got)
	var committed []byte
	if m.arena.Used(m.victim) && m.arena.Committed(m.victim).Client == fd {
		h := m.arena.Committed(m.victim).Down
		committed = bytes.Clone(m.areas.DownOut[m.slot.Noted.DownGiven-h.OutBase : h.Safe-h.OutBase])
	}
	m.survive(m.serve)
	for waits := true; waits && m.steps < 20_000; {
		m.step()
		waits = false
		for _, c := range m.clients {
			waits = waits || !c.ended && (c != m.client || harmless)
		}
	}
	for i, c := range m.clients {
		switch {
		case c == m.client && !harmless:
		case excused[c]:
			if err := c.whole(i, m.want[i]); err != nil && !c.ended {
				t.Errorf("a stream that shared a descriptor hangs: %v", err)
			}
		default:
			if err := c.whole(i, m.want[i]); err != nil {
				t.Errorf("an unharmed stream suffers: %v", err)
			}
		}
	}
	given := m.client.got[had:]
	if n := min(len(given), len(committed)); !bytes.Equal(given[:n], committed[:n]) || fd < 0 && len(given) > 0 {
		t.Errorf("the client (descriptor %d) was given\n%q\ncommitted was\n%q", fd, given, committed)
	}
}

// TestBlocksOfNobodyAreFreed: whatever the table of blocks says, it costs nobody else.
func TestBlocksOfNobodyAreFreed(t *testing.T) {
	m := wreck(t, ways{}, false)
	for _, b := range []arena.Block{{Slot: 0, Place: 1}, {Slot: int32(m.victim), Place: 0}, {Slot: 5, Place: 0}, {Slot: 99, Place: 0}, {Slot: -7, Place: 3}, {Slot: 1, Place: -1}} {
		m.arena.Claim(b.Slot, b.Place)
	}
	m.start()
	m.noBlocks()
	if n := m.relay.counts().TakeOver.Impossible; n != 0 {
		t.Errorf("%d slots are impossible", n)
	}
	if _, err := m.run(); err != nil {
		t.Fatal(err)
	}
	if err := whole(m.world, m.want); err != nil {
		t.Error(err)
	}
}

// sharers are the clients that the victim's spoilt slot drags along, since it names what is theirs and may be true.
func (m *ruin) sharers() map[*client]bool {
	drags := map[int32]bool{}
	if m.arena.Check(m.victim) == nil {
		for _, fd := range m.r.Descriptors() {
			drags[fd] = true
		}
	}
	for i := range m.arena.Slots() {
		if !m.arena.Used(i) || i == m.victim {
			continue
		}
		if c := m.arena.Committed(i); slices.ContainsFunc(c.Descriptors(), func(fd int32) bool { return drags[fd] }) {
			drags[c.Client] = true
		}
	}
	all := map[*client]bool{}
	for _, c := range m.clients {
		all[c] = drags[c.end.Descriptor()]
	}
	return all
}

// checkKept: each slot in use can be true, and each open descriptor is one slot's.
func (m *ruin) checkKept(t *testing.T) {
	t.Helper()
	named := map[int32]int{}
	for i := range m.arena.Slots() {
		if !m.arena.Used(i) {
			continue
		}
		if err := m.arena.Check(i); err != nil {
			t.Errorf("slot %d was kept: %v", i, err)
		}
		for _, fd := range m.arena.Committed(i).Descriptors() {
			named[fd]++
		}
	}
	open, _ := m.kernel.Descriptors()
	for _, fd := range open {
		if named[fd] != 1 {
			t.Errorf("descriptor %d is named by %d slots", fd, named[fd])
		}
		delete(named, fd)
	}
	if len(named) > 0 {
		t.Errorf("slots name descriptors that aren't open: %v", named)
	}
}
