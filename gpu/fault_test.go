package gpu

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEachXidOfTheTableSaysWhatItIs(t *testing.T) {
	for i, f := range faults {
		if i > 0 && f.Xid <= faults[i-1].Xid {
			t.Errorf("Xid %d behind %d", f.Xid, faults[i-1].Xid)
		}
		if f.Meaning == "" || f.Source == "" || f.Action > Obey {
			t.Errorf("%+v", f)
		}
		if got, known := FaultOf(f.Xid); !known || got != f {
			t.Errorf("Xid %d: %+v, %v", f.Xid, got, known)
		}
	}
	// Those of k8s-device-plugin, which are never the GPU's fault, and those at which NVIDIA resets it.
	for _, xid := range []uint64{13, 31, 43, 45, 68, 94} {
		if f, _ := FaultOf(xid); f.Action == Halt {
			t.Errorf("%+v", f)
		}
	}
	for _, xid := range []uint64{46, 62, 64, 79, 95, 110, 119, 120, 136, 140, 143, 155, 156, 158} {
		if f, _ := FaultOf(xid); f.Action != Halt {
			t.Errorf("%+v", f)
		}
	}
	for _, xid := range []uint64{9, 173, 1 << 63} {
		if f, known := FaultOf(xid); known || f.Action != Obey || f.Xid != xid {
			t.Errorf("%+v, %v", f, known)
		}
	}
}

func TestActionsAreWords(t *testing.T) {
	for word, want := range map[string]Action{"ignore": Ignore, "note": Note, "restart": Restart, "halt": Halt} {
		if got, err := ParseAction(word); got != want || err != nil || got.String() != word {
			t.Errorf("%s: %v, %v", word, got, err)
		}
	}
	for _, word := range []string{"", "Halt", "if sick", "obey"} {
		if _, err := ParseAction(word); err == nil || !strings.Contains(err.Error(), "ignore, note, restart, halt") {
			t.Errorf("%q: %v", word, err)
		}
	}
}

// A step is what happens at a time, and what is found then.
type step struct {
	at        time.Duration
	do        func(f *Faults, now time.Duration)
	halt      string // what Halt says begins with this; "": there is none
	explained uint64 // Xid
	notes     []uint64
}

func xid(n uint64) func(*Faults, time.Duration) {
	return func(f *Faults, now time.Duration) { f.Event(n, now) }
}

func recovery(r Recovery) func(*Faults, time.Duration) {
	return func(f *Faults, now time.Duration) { f.Recovery(r, now) }
}

func rows(pending, failed bool) func(*Faults, time.Duration) {
	return func(f *Faults, now time.Duration) {
		f.Condition(Condition{RowsPending: &pending, RowsFailed: &failed}, now)
	}
}

func kill(f *Faults, now time.Duration)     { f.OwnKill(now) }
func clearIt(f *Faults, now time.Duration)  { f.Clear(now) }
func readable(f *Faults, now time.Duration) { f.Readable(now) }
func nothing(f *Faults, now time.Duration)  { f.Tick(now) }

func TestWhatIsDoneAboutXids(t *testing.T) {
	const sec, min, hour = time.Second, time.Minute, time.Hour
	n := func(xids ...uint64) []uint64 { return xids }
	const driver = "the driver wants the GPU to be repaired"
	for what, c := range map[string]struct {
		rules FaultRules
		steps []step
	}{
		"31 explains a failure, for 5 minutes": {steps: []step{
			{0, xid(31), "", 31, nil}, {5 * min, nothing, "", 31, nil}, {5*min + sec, nothing, "", 0, nil},
		}},
		"the latest explains": {steps: []step{{0, xid(31), "", 31, nil}, {sec, xid(13), "", 13, nil}, {2 * sec, xid(43), "", 43, nil}}},
		"79 halts":            {steps: []step{{0, xid(79), "Xid 79: the GPU has fallen off the bus; reboot the machine, then `autoglm-sidecar start`", 0, nil}}},
		"95 halts":            {steps: []step{{0, xid(95), "Xid 95: an uncontained memory error; reset the GPU, or reboot", 0, nil}}},
		"a halt lasts":        {steps: []step{{0, xid(95), "Xid 95", 0, nil}, {30 * 24 * hour, readable, "Xid 95", 0, nil}}},
		"the first cause stays": {steps: []step{
			{0, xid(95), "Xid 95", 0, nil}, {sec, xid(46), "Xid 95", 0, nil}, {sec, rows(false, true), "Xid 95", 0, nil},
		}},
		"but for one that needs a reboot": {steps: []step{{0, xid(95), "Xid 95", 0, nil}, {sec, xid(79), "Xid 79", 0, nil}, {sec, xid(95), "Xid 79", 0, nil}}},
		"37 is ignored":                   {steps: []step{{0, xid(37), "", 0, nil}}},
		"63 is noted for a day":           {steps: []step{{0, xid(63), "", 0, n(63)}, {24 * hour, nothing, "", 0, n(63)}, {24*hour + sec, nothing, "", 0, nil}}},
		"999 and unknown ones are noted":  {steps: []step{{0, xid(999), "", 0, n(999)}, {0, xid(7777), "", 0, n(999, 7777)}}},

		"45 is noted":                        {steps: []step{{0, xid(45), "", 0, n(45)}}},
		"45 after a kill of ours is not":     {steps: []step{{0, kill, "", 0, nil}, {min, xid(45), "", 0, nil}, {min + sec, xid(45), "", 0, n(45)}}},
		"45 just before we say so is not":    {steps: []step{{0, xid(45), "", 0, n(45)}, {10 * sec, kill, "", 0, nil}}},
		"45 long before a kill is":           {steps: []step{{0, xid(45), "", 0, n(45)}, {11 * sec, kill, "", 0, n(45)}}},
		"another than 45 after a kill of us": {steps: []step{{0, kill, "", 0, nil}, {sec, xid(79), "Xid 79", 0, nil}}},

		"48 then 94":             {steps: []step{{0, xid(48), "", 48, nil}, {30 * sec, xid(94), "", 94, nil}, {2 * min, nothing, "", 94, nil}}},
		"94 then 48":             {steps: []step{{0, xid(94), "", 94, nil}, {30 * sec, xid(48), "", 48, nil}, {2 * min, nothing, "", 48, nil}}},
		"94 long before 48":      {steps: []step{{0, xid(94), "", 94, nil}, {31 * sec, xid(48), "", 48, nil}, {2 * min, nothing, "Xid 48", 48, nil}}},
		"48 then 95":             {steps: []step{{0, xid(48), "", 48, nil}, {5 * sec, xid(95), "Xid 95", 48, nil}}},
		"48 then a recovery":     {steps: []step{{0, xid(48), "", 48, nil}, {5 * sec, recovery(RecoverReset), "Xid 48: an uncorrectable memory error; the driver wants a reset", 48, nil}}},
		"48 then nothing":        {steps: []step{{0, xid(48), "", 48, nil}, {30 * sec, nothing, "", 48, nil}, {31 * sec, nothing, "Xid 48: an uncorrectable memory error (it was not contained)", 48, nil}}},
		"48 then 94 too late":    {steps: []step{{0, xid(48), "", 48, nil}, {31 * sec, xid(94), "Xid 48", 94, nil}}},
		"48 twice then nothing":  {steps: []step{{0, xid(48), "", 48, nil}, {20 * sec, xid(48), "", 48, nil}, {31 * sec, nothing, "Xid 48", 48, nil}}},
		"48, its details and 94": {steps: []step{{0, xid(171), "", 171, nil}, {sec, xid(48), "", 48, nil}, {2 * sec, xid(94), "", 94, nil}, {2 * min, nothing, "", 94, nil}}},
		"48 with a recovery":     {steps: []step{{0, recovery(RecoverReset), driver, 0, nil}, {sec, clearIt, "", 0, nil}, {2 * sec, xid(48), "Xid 48", 0, nil}}},
		"48 then 94, ignored":    {rules: FaultRules{Overrides: Overrides{94: Ignore}}, steps: []step{{0, xid(48), "", 48, nil}, {sec, xid(94), "", 48, nil}, {2 * min, nothing, "", 48, nil}}},

		"the same thrice within an hour": {steps: []step{
			{0, xid(31), "", 31, nil}, {30 * min, xid(31), "", 31, nil}, {hour, xid(31), "Xid 31: a memory page fault, as by an illegal address (again within an hour, so a restart is no remedy); reset", 31, nil},
		}},
		"thrice in more":                      {steps: []step{{0, xid(31), "", 31, nil}, {30 * min, xid(31), "", 31, nil}, {hour + sec, xid(31), "", 31, nil}}},
		"different ones":                      {steps: []step{{0, xid(31), "", 31, nil}, {2 * min, xid(13), "", 13, nil}, {4 * min, xid(32), "", 32, nil}}},
		"one fault told thrice":               {steps: []step{{0, xid(13), "", 13, nil}, {sec, xid(13), "", 13, nil}, {min, xid(13), "", 13, nil}}},
		"43 thrice":                           {steps: []step{{0, xid(43), "", 43, nil}, {2 * min, xid(43), "", 43, nil}, {4 * min, xid(43), "", 43, nil}}},
		"a neighbour's, thrice":               {rules: FaultRules{Shared: true}, steps: []step{{0, xid(31), "", 31, nil}, {2 * min, xid(31), "", 31, nil}, {4 * min, xid(31), "", 31, nil}}},
		"no application's, on a shared GPU":   {rules: FaultRules{Shared: true}, steps: []step{{0, xid(32), "", 32, nil}, {2 * min, xid(32), "", 32, nil}, {4 * min, xid(32), "Xid 32", 32, nil}}},
		"109 once":                            {steps: []step{{0, xid(109), "", 109, nil}, {min, xid(109), "", 109, nil}}},
		"109 twice within an hour":            {steps: []step{{0, xid(109), "", 109, nil}, {hour, xid(109), "Xid 109: a context switch timed out (again", 109, nil}}},
		"109 twice in more":                   {steps: []step{{0, xid(109), "", 109, nil}, {hour + sec, xid(109), "", 109, nil}}},
		"an NVLink error with one GPU":        {rules: FaultRules{GPUs: 1}, steps: []step{{0, xid(74), "", 0, n(74)}, {0, xid(150), "", 0, n(74, 150)}}},
		"an NVLink error with two":            {rules: FaultRules{GPUs: 2}, steps: []step{{0, xid(74), "Xid 74", 0, nil}}},
		"an NVLink error of the 5th with two": {rules: FaultRules{GPUs: 2}, steps: []step{{0, xid(144), "Xid 144", 0, nil}}},

		"the driver wants a reset": {steps: []step{{0, recovery(RecoverReset), driver + "; the driver wants a reset: reset the GPU, then `autoglm-sidecar start`", 0, nil}}},
		"of a kind to come":        {steps: []step{{0, recovery(99), driver + "; the driver wants something that this program doesn't know", 0, nil}}},
		"or of none at all":        {steps: []step{{0, recovery(-1), driver + "; the driver wants something that this program doesn't know", 0, nil}}},
		"it wants nothing":         {steps: []step{{0, recovery(RecoverNone), "", 0, nil}, {0, xid(154), "", 0, n(154)}}},
		"154, and it wants a reboot": {steps: []step{
			{0, xid(154), "", 0, n(154)}, {sec, recovery(RecoverReboot), driver + "; the driver wants a reboot", 0, n(154)},
		}},
		"it wanted one, and got it": {steps: []step{
			{0, xid(95), "Xid 95", 0, nil},
			{sec, recovery(RecoverReset), "Xid 95: an uncontained memory error; the driver wants a reset", 0, nil},
			{2 * sec, readable, "Xid 95", 0, nil},
			{min, recovery(RecoverNone), "Xid 95", 0, nil},
			{2 * min, readable, "", 0, nil},
			{3 * min, recovery(RecoverReset), driver, 0, nil},
		}},
		"it never wanted one": {steps: []step{
			{0, xid(95), "Xid 95", 0, nil}, {sec, recovery(RecoverNone), "Xid 95", 0, nil}, {min, readable, "Xid 95", 0, nil},
		}},
		"it got one, and then another came": {steps: []step{
			{0, recovery(RecoverReset), driver, 0, nil},
			{sec, recovery(RecoverNone), driver, 0, nil},
			{2 * sec, xid(95), driver, 0, nil},
			{3 * sec, readable, driver, 0, nil},
		}},
		"the operator insists": {steps: []step{
			{0, recovery(RecoverReset), driver, 0, nil},
			{sec, clearIt, "", 0, nil},
			{min, recovery(RecoverReset), "", 0, nil},
			{2 * min, recovery(RecoverReboot), driver, 0, nil},
		}},
		"the operator insists, and it fails": {steps: []step{
			{0, recovery(RecoverReset), driver, 0, nil}, {sec, clearIt, "", 0, nil}, {min, xid(31), "Xid 31: a memory page fault, as by an illegal address; the driver wants a reset", 0, nil},
		}},
		"the operator insists, and an unknown one comes": {steps: []step{
			{0, recovery(RecoverReset), driver, 0, nil}, {sec, clearIt, "", 0, nil}, {min, xid(154), "", 0, n(154)}, {min, xid(999), "Xid 999", 0, n(154)},
		}},
		"the operator insists, and a neighbour fails": {rules: FaultRules{Shared: true}, steps: []step{
			{0, recovery(RecoverReset), driver, 0, nil}, {sec, clearIt, "", 0, nil}, {min, xid(31), "", 31, nil},
		}},
		"the operator repaired it": {steps: []step{
			{0, xid(31), "", 31, nil},
			{2 * min, xid(31), "", 31, nil},
			{4 * min, xid(31), "Xid 31", 31, nil},
			{5 * min, clearIt, "", 0, nil},
			{6 * min, xid(31), "", 31, nil},
		}},

		"a row waits":                   {steps: []step{{0, rows(true, false), "", 0, n(0)}, {48 * hour, rows(true, false), "", 0, n(0)}, {49 * hour, rows(false, false), "", 0, nil}}},
		"a row can't be remapped":       {steps: []step{{0, rows(false, true), "a bad row of the GPU's memory could not be remapped; reset", 0, nil}, {sec, clearIt, "", 0, nil}, {min, rows(false, true), "", 0, nil}}},
		"nor after the driver's repair": {steps: []step{{0, rows(false, true), "a bad row", 0, nil}, {sec, recovery(RecoverReset), "a bad row", 0, nil}, {2 * sec, recovery(RecoverNone), "a bad row", 0, nil}, {3 * sec, readable, "a bad row", 0, nil}}},

		"79 is overridden": {rules: FaultRules{Overrides: Overrides{79: Ignore}}, steps: []step{{0, xid(79), "", 0, nil}}},
		"to restart":       {rules: FaultRules{Overrides: Overrides{79: Restart}}, steps: []step{{0, xid(79), "", 79, nil}}},
		"to note":          {rules: FaultRules{Overrides: Overrides{31: Note}}, steps: []step{{0, xid(31), "", 0, n(31)}}},
		"to halt":          {rules: FaultRules{Overrides: Overrides{31: Halt, 7777: Halt}}, steps: []step{{0, xid(7777), "Xid 7777: unknown to this program", 0, nil}}},
	} {
		for _, reread := range []bool{false, true} { // the sidecar dies between the steps
			f := NewFaults(c.rules)
			for i, s := range c.steps {
				s.do(f, s.at)
				if reread {
					b := f.Append(nil)
					var err error
					if f, err = ReadFaults(c.rules, b); err != nil {
						t.Fatalf("%s, step %d: %v", what, i, err)
					}
				}
				halt, halted := f.Halt()
				if halted != (s.halt != "") || !strings.HasPrefix(halt.Text, s.halt) {
					t.Errorf("%s, step %d: %+v, want %q", what, i, halt, s.halt)
				}
				if why, _ := f.Explains(s.at); why.Xid != s.explained {
					t.Errorf("%s, step %d: explained by %+v, want Xid %d", what, i, why, s.explained)
				}
				var notes []uint64
				for _, note := range f.Notes() {
					notes = append(notes, note.Xid)
				}
				if !slices.Equal(notes, s.notes) {
					t.Errorf("%s, step %d: notes on %d, want %d", what, i, notes, s.notes)
				}
			}
		}
	}
}

func TestAFindingNamesItsDeviceAndTime(t *testing.T) {
	f := NewFaults(FaultRules{Device: "GPU-1", Shared: true})
	e := f.Event(31, time.Minute)
	if e.Action != Restart || e.Device != "GPU-1" || e.Since != time.Minute || e.Xid != 31 {
		t.Errorf("%+v", e)
	}
	if why, _ := f.Explains(2 * time.Minute); why.Since != time.Minute || why.Device != "GPU-1" || !strings.Contains(why.Text, "another process") {
		t.Errorf("%+v", why)
	}
	f.Event(48, 3*time.Minute)
	if until, undecided := f.Undecided(); !undecided || until != 3*time.Minute+30*time.Second {
		t.Errorf("undecided %v, until %v", undecided, until)
	}
	f.Event(79, 3*time.Minute+time.Second)
	if _, undecided := f.Undecided(); undecided {
		t.Error("undecided after 79")
	}
	if h, _ := f.Halt(); h.Since != 3*time.Minute+time.Second || h.Device != "GPU-1" || h.Action != Halt || h.Xid != 79 {
		t.Errorf("%+v", h)
	}
}

func TestXidsAreCounted(t *testing.T) {
	f := NewFaults(FaultRules{})
	f.OwnKill(0)
	for _, xid := range []uint64{31, 31, 37, 45} {
		f.Event(xid, time.Second)
	}
	f.Event(45, time.Hour)
	got := f.Counts()
	if len(got) != 3 || got[31] != 2 || got[37] != 1 || got[45] != 1 {
		t.Errorf("%v", got)
	}
	for xid := range uint64(100_000) {
		f.Event(1000+xid, time.Hour)
	}
	if got := f.Counts(); len(got) > mostXids+1 || got[999] < 99_000 {
		t.Errorf("%d Xids, 999 %d times", len(got), got[999])
	}
}

// TestARecordIsSmall: however much was told.
func TestARecordIsSmall(t *testing.T) {
	f := NewFaults(FaultRules{})
	late := 100 * 365 * 24 * time.Hour
	for i := range 3 {
		for xid := range uint64(500) {
			f.Event(1<<63+xid, late+time.Duration(i)*20*time.Minute)
		}
	}
	f.OwnKill(late)
	f.Recovery(RecoverReset, late)
	b := f.Append([]byte("before"))
	if len(b) > MostFaults+6 || len(b) < 400 || string(b[:6]) != "before" {
		t.Errorf("%d bytes", len(b))
	}
	if g, err := ReadFaults(FaultRules{}, b[6:]); err != nil || len(g.xids) < 8 || g.recovery != RecoverReset {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestARecordThatMakesNoSenseIsRefused(t *testing.T) {
	f := NewFaults(FaultRules{})
	f.Event(31, time.Minute)
	good := f.Append(nil)
	const ofXid = 7 // bytes, the last
	for n := range len(good) {
		if _, err := ReadFaults(FaultRules{}, good[:n]); err == nil && n != len(good)-ofXid { // without any Xid it is a record too
			t.Errorf("the first %d of %d bytes were read", n, len(good))
		}
	}
	for what, b := range map[string][]byte{
		"another version":         append([]byte{2}, good[1:]...),
		"an Xid twice":            append(slices.Clone(good), good[len(good)-ofXid:]...),
		"a cause to come":         append([]byte{1, 0, byte(causes)}, good[3:]...),
		"a recovery of no number": append([]byte{1, 0, 0, byte(recoverOther) + 1}, good[4:]...),
		"too long":                make([]byte, MostFaults+1),
	} {
		if _, err := ReadFaults(FaultRules{}, b); err == nil {
			t.Errorf("%s: was read", what)
		}
	}
}

func FuzzReadFaults(f *testing.F) {
	full := NewFaults(FaultRules{})
	for i, xid := range []uint64{31, 45, 48, 63, 31, 94, 171, 7777} {
		full.Event(xid, time.Duration(i)*2*time.Minute)
	}
	f.Add(full.Append(nil))
	full.Recovery(RecoverReset, time.Hour)
	f.Add(full.Append(nil))
	f.Add(NewFaults(FaultRules{}).Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ReadFaults(FaultRules{}, b)
		if err != nil {
			return
		}
		once := a.Append(nil)
		again, err := ReadFaults(FaultRules{}, once)
		if err != nil {
			t.Fatalf("%x, written again as %x: %v", b, once, err)
		}
		if twice := again.Append(nil); len(once) > MostFaults || !slices.Equal(once, twice) {
			t.Errorf("%x, then %x", once, twice)
		}
		// It goes on.
		for _, xid := range []uint64{31, 45, 48, 79, 1234} {
			again.Event(xid, again.now+time.Second)
		}
		if _, halted := again.Halt(); !halted {
			t.Error("79 didn't halt")
		}
		again.Recovery(RecoverNone, again.now)
		again.Readable(again.now)
		again.Explains(again.now)
		again.Notes()
		again.OwnKill(again.now)
	})
}
