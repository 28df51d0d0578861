package watch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/gpu"
)

const (
	uuid   = "GPU-5e0f"
	worker = 4711
	other  = 9
	total  = 80 * gpu.GiB
)

// machine is one with one GPU, the worker on it, and a watch that a reader feeds. Its clock is since boot.
type machine struct {
	t       *testing.T
	w       *Watch
	now     time.Duration
	used    gpu.Bytes // by the worker; 0: it has no process there
	others  gpu.Bytes
	trouble gpu.Trouble
	unseen  gpu.Bytes // used, and of no process that is listed
}

func newMachine(t *testing.T, o Options) *machine {
	m := &machine{t: t, w: New(o), now: time.Hour, unseen: 500 * gpu.MiB}
	m.w.Uses([]gpu.Device{{UUID: uuid, Total: total}})
	return m
}

func mine(pid int) bool { return pid == worker }

// looks is what a reader sends in a second.
func (m *machine) looks() {
	m.now += time.Second
	m.w.Take(gpu.Line{Sample: &gpu.Sample{
		Device: uuid, Trouble: m.trouble, Total: total, Used: m.used + m.others + m.unseen, Free: total - m.used - m.others - m.unseen,
	}}, m.now, mine)
	if m.now/time.Second%5 == 0 {
		var all []gpu.Process
		if m.used > 0 {
			all = append(all, gpu.Process{PID: worker, Bytes: m.used})
		}
		if m.others > 0 {
			all = append(all, gpu.Process{PID: other, Bytes: m.others})
		}
		m.w.Take(gpu.Line{Processes: &gpu.Processes{Device: uuid, Processes: all}}, m.now, mine)
	}
}

func (m *machine) passes(d time.Duration, each func(minute float64)) {
	began := m.now
	for m.now-began < d {
		if each != nil {
			each((m.now - began).Minutes())
		}
		m.looks()
	}
}

// dies is our death: the next runner has nothing but what was appended.
func (m *machine) dies() {
	b, err := m.w.Append(nil)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(b) > 8<<10 {
		m.t.Errorf("%d bytes are kept of one device", len(b))
	}
	life, serves := m.w.life, m.w.serves
	m.w = New(m.w.Options)
	if err := m.w.Restore(b); err != nil {
		m.t.Fatal(err)
	}
	m.w.Uses([]gpu.Device{{UUID: uuid, Total: total}})
	if serves {
		m.w.Serves(life)
	}
}

func (m *machine) look() Look { return m.w.Looks(m.now)[0] }

// serves is a life that has loaded its model.
func (m *machine) serves(life int64, used gpu.Bytes) {
	m.looks()
	m.w.Launch(life, true)
	m.passes(time.Minute, func(float64) { m.used = used })
	m.w.Serves(life)
}

func TestALeakIsForeseenOverADeathOfOurs(t *testing.T) {
	m := newMachine(t, Options{})
	m.serves(1, 72*gpu.GiB)
	leak := func(minute float64) { m.used = 72*gpu.GiB + gpu.Bytes(minute*float64(20*gpu.MiB)) }
	m.passes(90*time.Minute, leak)
	if o := m.look().Outlook; o.Foreseen || o.Stage != gpu.Watching {
		t.Errorf("after 90 minutes: %+v", o)
	}
	began := m.now - 90*time.Minute
	for range 9 { // a death every ten minutes
		m.dies()
		m.passes(10*time.Minute, func(float64) { leak((m.now - began).Minutes()) })
	}
	l := m.look()
	if !l.Outlook.Foreseen || l.Outlook.Trend.Floors < 50 || len(l.Curve) != CurveKept {
		t.Errorf("after 180 minutes and 9 deaths: %+v, a curve of %d minutes", l.Outlook, len(l.Curve))
	}
	if l.Use.Mode != gpu.ByProcess || l.Use.Contexts != 1 || l.Baseline != 500*gpu.MiB {
		t.Errorf("use %+v, baseline %v", l.Use, l.Baseline)
	}
	m.passes(4*time.Hour, func(float64) { m.used = min(total-gpu.GiB, m.used+20*gpu.MiB) })
	if !m.look().Hard {
		t.Errorf("full in all but name: %+v", m.look())
	}
}

func TestOnlyTheWorkersOwnGrowthCounts(t *testing.T) {
	m := newMachine(t, Options{})
	m.others = 5 * gpu.GiB
	m.serves(1, 60*gpu.GiB)
	m.passes(5*time.Hour, func(minute float64) { m.others = 5*gpu.GiB + gpu.Bytes(minute*float64(20*gpu.MiB)) })
	if o := m.look().Outlook; o.Foreseen || o.Soft || o.Trend.Slope != 0 {
		t.Errorf("a neighbour grows: %+v", o)
	}
}

func TestALostDeviceIsAGapAndABar(t *testing.T) {
	m := newMachine(t, Options{})
	m.serves(1, 60*gpu.GiB)
	m.passes(2*time.Hour, nil)
	floors := len(m.look().Curve)
	m.trouble = gpu.Lost
	m.passes(2*time.Second, nil)
	if bar := m.w.Bar(m.now); bar != "" {
		t.Errorf("two bad samples: %q", bar)
	}
	m.passes(10*time.Minute, nil)
	if l := m.look(); len(l.Curve) > floors+1 || !strings.Contains(m.w.Bar(m.now), "not restarting onto it") {
		t.Errorf("lost for 10 minutes: %d minutes of a curve that had %d; bar %q", len(l.Curve), floors, m.w.Bar(m.now))
	}
	m.trouble = gpu.NoTrouble
	m.looks()
	if bar := m.w.Bar(m.now); bar != "" {
		t.Errorf("it is back: %q", bar)
	}
}

func TestTheNextLifeNeedsWhatTheLastHad(t *testing.T) {
	m := newMachine(t, Options{})
	m.serves(1, 60*gpu.GiB)
	m.passes(time.Hour, nil)
	m.w.Ends(1)
	ended := m.now
	name := func(int) string { return "vllm" }
	if free, held := m.w.Free(ended, 0, name); free || !strings.Contains(held, "looked at") {
		t.Errorf("before anybody looked: %v, %q", free, held)
	}
	m.passes(6*time.Second, nil)
	if free, held := m.w.Free(ended, 0, name); free || !strings.Contains(held, "PID 4711 (vllm) holds 60.0 GiB of GPU 0") {
		t.Errorf("it lives on: %v, %q", free, held)
	}
	m.dies() // and the next runner knows whose PIDs they are
	m.passes(6*time.Second, nil)
	if free, held := m.w.Free(ended, 0, name); free || !strings.Contains(held, "PID 4711") {
		t.Errorf("after a death of ours: %v, %q", free, held)
	}
	m.used, m.unseen = 0, 20*gpu.GiB // its teardown
	m.passes(6*time.Second, nil)
	if free, held := m.w.Free(ended, 0, name); free || !strings.Contains(held, "19.5 GiB of GPU 0, held by no process") {
		t.Errorf("the driver tears down: %v, %q", free, held)
	}
	m.unseen = 500 * gpu.MiB
	m.looks()
	if free, held := m.w.Free(ended, 0, name); !free {
		t.Errorf("it is free: %q", held)
	}
	m.others = 30 * gpu.GiB // of a neighbour who came meanwhile
	m.passes(6*time.Second, nil)
	if free, held := m.w.Free(ended, 0, name); free || !strings.Contains(held, "63.0 GiB are needed") {
		t.Errorf("a neighbour has it: %v, %q", free, held)
	}
}

// TestADeviceThatCanNotBeRead is waited for as long as a driver needs, and no longer.
func TestADeviceThatCanNotBeRead(t *testing.T) {
	for _, trouble := range []gpu.Trouble{gpu.Unpermitted, gpu.Unsupported, gpu.Unreadable, gpu.Lost} {
		m := newMachine(t, Options{})
		m.trouble = trouble
		m.serves(1, 60*gpu.GiB)
		m.w.Ends(1)
		ended := m.now
		m.passes(6*time.Second, nil)
		soon, _ := m.w.Free(ended, 9*time.Second, nil)
		late, held := m.w.Free(ended, BlindWait, nil)
		if soon || late != (trouble != gpu.Lost) {
			t.Errorf("%s: free after 9 s %v, after 10 s %v (%q)", trouble, soon, late, held)
		}
	}
}

// TestRoomIsEnoughAfterAWhile, and a person's word after that, but never while a process of the worker is there.
func TestRoomIsEnoughAfterAWhile(t *testing.T) {
	m := newMachine(t, Options{})
	m.serves(1, 40*gpu.GiB)
	m.passes(time.Hour, nil)
	m.w.Ends(1)
	ended := m.now
	m.passes(6*time.Second, nil)
	if free, _ := m.w.Free(ended, time.Hour, nil); free {
		t.Error("it lives on, and its memory is free")
	}
	m.w.Rebase()
	if free, _ := m.w.Free(ended, time.Hour, nil); free {
		t.Error("a person's word made memory free of a process that lives on")
	}
	m.used, m.unseen = 0, 2*gpu.GiB // a program that the driver doesn't list
	m.passes(6*time.Second, nil)
	if free, held := m.w.Free(ended, roomWait-1, nil); free || !strings.Contains(held, "held by no process") {
		t.Errorf("at once: %v, %q", free, held)
	}
	if free, held := m.w.Free(ended, roomWait, nil); !free {
		t.Errorf("with room for the next: %q", held)
	}
	m.unseen = 50 * gpu.GiB
	m.passes(6*time.Second, nil)
	if free, _ := m.w.Free(ended, time.Hour, nil); free {
		t.Error("there is no room, and it is free")
	}
	m.w.Rebase()
	if free, held := m.w.Free(ended, 0, nil); !free {
		t.Errorf("a person says that it is as it is to be: %q", held)
	}
}

// TestALeakIsNoNeed: what a life needs is what it took until its plateau, whatever becomes of it, and of us.
func TestALeakIsNoNeed(t *testing.T) {
	m := newMachine(t, Options{})
	m.serves(1, 40*gpu.GiB)
	m.passes(time.Hour, nil)
	m.used = 70 * gpu.GiB
	m.passes(time.Minute, nil)
	m.w.serves = false // the next runner has not seen yet that it serves
	m.dies()
	m.passes(time.Minute, nil)
	m.w.Ends(1)
	m.passes(time.Minute, nil)
	if got := m.look().Need; got != 42*gpu.GiB {
		t.Errorf("it needs %v", got)
	}
}

// TestWhatItMayUseIsKnownWithItsPlateau: neither a gap at its first sample nor a neighbour who wasn't listed yet lasts for its life.
func TestWhatItMayUseIsKnownWithItsPlateau(t *testing.T) {
	m := newMachine(t, Options{})
	m.looks()
	m.w.Launch(1, true)
	m.used, m.trouble = 40*gpu.GiB, gpu.Unreadable
	m.w.Serves(1)
	m.passes(5*time.Second, nil)
	m.trouble = gpu.NoTrouble
	m.passes(10*time.Second, nil)
	m.others = 20 * gpu.GiB
	m.passes(2*time.Hour, nil)
	if o := m.look().Outlook; o.Stage != gpu.Watching || o.Limit != 80*gpu.GiB-20*gpu.GiB-500*gpu.MiB-gpu.Spare {
		t.Errorf("%+v", o)
	}
}

func TestALookThatIsOldSaysNothingOfWhatTheDeviceUses(t *testing.T) {
	m := newMachine(t, Options{Sharing: Exclusive})
	m.serves(1, 60*gpu.GiB)
	m.w.Ends(1)
	m.w.Launch(2, false) // the reader is silent: its last look shows the life before
	if l := m.look(); l.Baseline != -1 {
		t.Errorf("the baseline is %v", l.Baseline)
	}
}

func TestSlackDoesNotAddUp(t *testing.T) {
	m := newMachine(t, Options{})
	for life := range int64(5) {
		m.serves(life+1, 60*gpu.GiB)
		m.w.Ends(life + 1)
		m.used = 0
		m.unseen += 300 * gpu.MiB
		m.passes(6*time.Second, nil)
	}
	if free, _ := m.w.Free(0, 0, nil); free {
		t.Error("1.5 GiB more than at first, 300 MiB a life, and it counts as given back")
	}
}

func TestALifeThatNobodySawBegin(t *testing.T) {
	m := newMachine(t, Options{Sharing: Exclusive})
	m.used = 60 * gpu.GiB
	m.w.Serves(7)
	m.passes(10*time.Second, nil)
	if l := m.look(); l.Baseline != -1 || l.Use.Mode != gpu.ByProcess || l.Use.Used != 60*gpu.GiB {
		t.Errorf("its processes are listed: %+v, baseline %d", l.Use, l.Baseline)
	}
	m = newMachine(t, Options{Sharing: Exclusive})
	m.w.Serves(7)
	m.passes(10*time.Second, func(float64) { m.unseen = 60 * gpu.GiB })
	if l := m.look(); l.Use.Mode != gpu.Blind || l.Use.OK {
		t.Errorf("nothing is listed, and what was used before isn't known: %+v", l.Use)
	}
}

func TestAShareOfTheDeviceIsALimit(t *testing.T) {
	m := newMachine(t, Options{Share: 0.95, Rules: gpu.Rules{Limit: 79 * gpu.GiB}})
	m.serves(1, 60*gpu.GiB)
	m.passes(2*time.Hour, nil)
	if o := m.look().Outlook; o.Limit != 76*gpu.GiB {
		t.Errorf("the limit is %v", o.Limit)
	}
	m.dies()
	if o := m.look().Outlook; o.Limit != 76*gpu.GiB {
		t.Errorf("after a death of ours the limit is %v", o.Limit)
	}
}

func TestFaultsOfTheDevice(t *testing.T) {
	m := newMachine(t, Options{})
	m.serves(1, 60*gpu.GiB)
	xid := func(n uint64) { m.w.Take(gpu.Line{Event: &gpu.Event{Device: uuid, Xid: n}}, m.now, mine) }
	m.w.Kills(m.now)
	xid(45)
	if l := m.look(); l.Explain || l.Halted || len(l.Notes) > 0 {
		t.Errorf("45 after a kill of ours: %+v", l)
	}
	xid(31)
	if l := m.look(); !l.Explain || l.Explains.Xid != 31 || l.Halted {
		t.Errorf("31: %+v", l.Explains)
	}
	xid(79)
	if bar := m.w.Bar(m.now); !strings.Contains(bar, "Xid 79") {
		t.Errorf("79: %q", bar)
	}
	m.dies()
	if bar := m.w.Bar(m.now); !strings.Contains(bar, "Xid 79") {
		t.Errorf("after a death of ours: %q", bar)
	}
	m.w.Clears(m.now)
	if bar := m.w.Bar(m.now); bar != "" {
		t.Errorf("a person says that it is well: %q", bar)
	}
}

// TestADeviceThatComesAndGoes keeps what was known of it.
func TestADeviceThatComesAndGoes(t *testing.T) {
	m := newMachine(t, Options{})
	m.serves(1, 60*gpu.GiB)
	m.passes(time.Hour, nil)
	b, err := m.w.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	next := New(Options{})
	if err := next.Restore(b); err != nil {
		t.Fatal(err)
	}
	again, err := next.Append(nil) // the reader hasn't said yet which devices there are
	if err != nil {
		t.Fatal(err)
	}
	last := New(Options{})
	if err := last.Restore(again); err != nil {
		t.Fatal(err)
	}
	last.Uses([]gpu.Device{{UUID: uuid, Total: total}})
	last.Serves(1)
	if got, want := last.Looks(m.now)[0], m.look(); got.Outlook != want.Outlook || !slices.Equal(got.Curve, want.Curve) || got.Need != want.Need {
		t.Errorf("%+v\nwant\n%+v", got.Outlook, want.Outlook)
	}
}

// TestALifeThatBeginsBeforeTheReaderSpeaks doesn't inherit the memory of the one before.
func TestALifeThatBeginsBeforeTheReaderSpeaks(t *testing.T) {
	m := newMachine(t, Options{})
	m.serves(1, 60*gpu.GiB)
	m.passes(2*time.Hour, nil)
	b, err := m.w.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.w = New(Options{})
	if err := m.w.Restore(b); err != nil {
		t.Fatal(err)
	}
	m.w.Launch(2, true)
	m.w.Serves(2)
	m.w.Uses([]gpu.Device{{UUID: uuid, Total: total}})
	m.passes(10*time.Second, nil)
	if l := m.look(); l.Outlook.Stage != gpu.Warming || len(l.Curve) > 1 || l.Baseline != -1 || l.Need != 63*gpu.GiB {
		t.Errorf("%+v, baseline %v, need %v, a curve of %d minutes", l.Outlook, l.Baseline, l.Need, len(l.Curve))
	}
}

// TestWhatADeviceBarsOutlivesItsListing: neither that the driver lists it no more nor that nobody reads it makes it a good one.
func TestWhatADeviceBarsOutlivesItsListing(t *testing.T) {
	for what, harm := range map[string]func(*machine){
		"Xid 79": func(m *machine) {
			m.w.Take(gpu.Line{Event: &gpu.Event{Device: uuid, Xid: 79}}, m.now, mine)
		},
		"has lost it": func(m *machine) {
			m.trouble = gpu.Lost
			m.passes(3*time.Second, nil)
		},
		"needs a reset": func(m *machine) {
			m.trouble = gpu.ResetRequired
			m.passes(3*time.Second, nil)
		},
	} {
		m := newMachine(t, Options{})
		m.serves(1, 60*gpu.GiB)
		harm(m)
		barred := func(when string, is bool) {
			t.Helper()
			if bar := m.w.Bar(m.now); strings.Contains(bar, what) != is {
				t.Errorf("%s, %s: %q", what, when, bar)
			}
		}
		barred("at once", true)
		m.w.Uses(nil)
		barred("not listed any more", true)
		m.w.Uses([]gpu.Device{{UUID: "GPU-another", Index: 1}})
		barred("beside another", true)
		b, err := m.w.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		m.w = New(Options{})
		if err := m.w.Restore(b); err != nil {
			t.Fatal(err)
		}
		barred("after a death of ours, and nobody reads", true)
		m.w.Uses([]gpu.Device{{UUID: uuid, Total: total}})
		barred("listed again", true)
		m.w.Uses(nil)
		m.w.Clears(m.now)
		barred("a person says that it is well", false)
		m.w.Uses([]gpu.Device{{UUID: uuid, Total: total}})
		barred("and it is listed again", false)
	}
}

func TestADeviceThatIsNotTheWorkersAfterAllBarsNobody(t *testing.T) {
	m := newMachine(t, Options{})
	m.w.Take(gpu.Line{Event: &gpu.Event{Device: uuid, Xid: 79}}, m.now, mine)
	m.w.Uses([]gpu.Device{{UUID: "GPU-another"}})
	m.w.Forget(func(id string) bool { return id == uuid })
	if bar := m.w.Bar(m.now); bar != "" || !m.w.MayHold() {
		t.Errorf("%q", bar)
	}
	for i := range 100 { // instances are divided anew again and again
		m.w.Uses([]gpu.Device{{UUID: fmt.Sprint("MIG-", i)}})
	}
	if n := len(m.w.absent); n != mostAbsent || m.w.absent[n-1].UUID != "MIG-98" {
		t.Errorf("%d are kept of devices that are gone", n)
	}
}

func TestAFaultOfNVLinkCountsByTheDevicesThatThereAreNow(t *testing.T) {
	m := newMachine(t, Options{})
	m.w.Uses([]gpu.Device{{UUID: uuid}, {UUID: "GPU-second", Index: 1}})
	m.w.Take(gpu.Line{Event: &gpu.Event{Device: uuid, Xid: 74}}, m.now, mine)
	if bar := m.w.Bar(m.now); !strings.Contains(bar, "Xid 74") {
		t.Errorf("the worker has two now: %q", bar)
	}
}

func FuzzRestore(f *testing.F) {
	w := New(Options{})
	w.Uses([]gpu.Device{{UUID: uuid, Total: total}})
	b, err := w.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		w := New(Options{})
		if w.Restore(b) != nil {
			return
		}
		w.Uses([]gpu.Device{{UUID: uuid, Total: total}})
		w.Looks(0)
	})
}
