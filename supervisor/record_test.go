package supervisor

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/health"
)

// fullest is a machine whose every field takes the most room.
func fullest() Machine {
	long := strings.Repeat("ä", 1000)
	r := Restart{
		ID: math.MaxInt64, Revision: math.MaxInt64, Reason: health.MemoryForecast, By: long, Why: long, From: math.MaxInt64, To: math.MaxInt64,
		Starts: math.MaxInt, Joined: math.MaxInt, Asked: math.MaxInt64, Took: math.MaxInt64, Open: math.MaxInt, InTheWay: math.MaxInt,
		Result: Overtaken, Detail: long,
	}
	for i := range r.Spent {
		r.Spent[i] = math.MaxInt64
	}
	m := Machine{
		State: Finding, Noted: Left, NotedDeadline: math.MaxInt64, Life: math.MaxInt64, PID: math.MaxInt, Since: math.MaxInt64,
		Deadline: math.MaxInt64, Want: WantLeave, Hurry: true, Now: true, MayCut: true, Overdue: true, Hasty: true, Failed: true, Occupied: true, Unfree: true, ByBar: true, Barred: long,
		Restart: r, Unrecorded: r, Barrier: math.MaxUint32, Launched: math.MaxInt64, Served: math.MaxInt64, Warmup: math.MaxInt64,
		Failures: math.MaxInt, Backoff: math.MaxInt64, Seed: math.MaxUint64, Restarts: math.MaxInt64, LastError: long, ErrorAt: math.MaxInt64,
		Stop: Word{math.MaxInt64, long}, Drain: Word{math.MaxInt64, long},
		Freeze: Freeze{Until: math.MaxInt64, At: math.MaxInt64, All: true, By: long, Why: long},
	}
	for i := range m.Would {
		m.Would[i] = math.MaxUint32
	}
	for i := range m.Counts {
		for k := range m.Counts[i] {
			m.Counts[i][k] = math.MaxUint32
		}
	}
	for i := range m.Crashes {
		m.Crashes[i] = math.MaxInt64 - time.Duration(i)*time.Minute
	}
	return m
}

func TestTheRecordIsBounded(t *testing.T) {
	m := fullest()
	b := m.AppendRecord(nil)
	if len(b) > MaxRecord {
		t.Errorf("the fullest record has %d bytes, at most %d fit", len(b), MaxRecord)
	}
	if _, err := ReadRecord(b); err != nil {
		t.Error(err)
	}
	t.Logf("the fullest record: %d bytes", len(b))
}

func TestTheRecordHoldsEverything(t *testing.T) {
	m := typical(Draining)
	m.Want, m.Hurry, m.Now, m.MayCut, m.Overdue, m.Failed, m.Occupied, m.Unfree, m.ByBar, m.Hasty = WantStop, true, true, true, true, true, true, true, true, true
	m.Barred = "the GPU needs a reset"
	m.Warmup, m.Failures, m.Backoff, m.LastError = time.Minute, 5, 16*time.Second, "life 2: exited 1"
	for i := range 20 {
		m.Crashes.add(time.Hour + time.Duration(i)*time.Minute)
	}
	m.Restart.Joined, m.Restart.Detail, m.Restart.Open, m.Restart.Starts, m.Restart.To = 2, "life 2: exited 1", 212, 3, 4
	m.Restart.Why = "no byte from 3 streams for 2m"
	m.Counts[health.Crashed][Done], m.Counts[health.Operator][Postponed], m.ErrorAt = 3, 4, time.Hour
	m.Stop, m.Drain = Word{time.Hour, "uid 1000"}, Word{time.Minute, "uid 0"}
	m.Freeze = Freeze{Until: 9 * time.Hour, At: time.Hour, All: true, By: "uid 0", Why: "a benchmark"}
	m.Would[health.Hung], m.Would[health.Age] = 2, 1
	m.Restart.Spent = Spent{PhaseDraining: 5, PhaseStarting: 6}
	m.Unrecorded = m.Restart
	m.Unrecorded.ID, m.Unrecorded.Result, m.Unrecorded.Took, m.Unrecorded.InTheWay = 3, Postponed, time.Hour, 7

	b := m.AppendRecord(nil)
	got, err := ReadRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	got.Limits, got.Booted = m.Limits, m.Booted // not the record's
	if got != m {
		t.Errorf("read back as\n%+v, want\n%+v", got, m)
	}
	t.Logf("a usual record: %d bytes", len(b))
}

func TestTheRecordOfALookNotesWhatIsLookedFor(t *testing.T) {
	m := typical(Terminating)
	deadline := m.Deadline
	m.Booted = false
	m, _ = Step(m, Event{Kind: EventBoot}, m.Since)
	m, _ = Step(m, Event{Kind: EventFindFailed, Life: m.Life, Why: "why"}, m.Since)
	got, err := ReadRecord(m.AppendRecord(nil))
	if err != nil || got.State != Terminating || got.Deadline != deadline {
		t.Errorf("it notes %v until %v, %v; want terminating until %v", got.State, got.Deadline, err, deadline)
	}
}

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	for n := range 8 {
		if got, want := clip("aäöü", n), []string{"", "a", "a", "aä", "aä", "aäö", "aäö", "aäöü"}[n]; got != want {
			t.Errorf("clip to %d bytes: %q, want %q", n, got, want)
		}
	}
}

func TestABrokenRecordIsRefused(t *testing.T) {
	m := typical(Serving)
	good := m.AppendRecord(nil)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := ReadRecord(bad); err == nil {
			t.Errorf("a record with byte %d changed was read", i)
		}
		if _, err := ReadRecord(good[:i]); err == nil {
			t.Errorf("%d bytes of a record were read", i)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for s := range State(numStates) {
		m := typical(s)
		f.Add(withoutFrame(m.AppendRecord(nil)))
	}
	m := fullest()
	f.Add(withoutFrame(m.AppendRecord(nil)))
	f.Fuzz(func(t *testing.T, fields []byte) {
		m, err := ReadRecord(withFrame(fields))
		if err != nil {
			return
		}
		once := m.AppendRecord(nil)
		if len(once) > MaxRecord {
			t.Fatalf("%d bytes", len(once))
		}
		again, err := ReadRecord(once)
		if err != nil {
			t.Fatalf("what was read and written can't be read: %v", err)
		}
		if twice := again.AppendRecord(nil); !bytes.Equal(once, twice) {
			t.Fatalf("written as\n%x, then as\n%x", once, twice)
		}
	})
}

// withoutFrame and withFrame take version and checksum away, which no fuzzer would get past.
func withoutFrame(b []byte) []byte { return b[1 : len(b)-4] }

func withFrame(fields []byte) []byte { return sealed(append([]byte{RecordVersion}, fields...)) }
