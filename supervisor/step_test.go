package supervisor

import (
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/health"
)

// story is a machine to which things happen one after the other, each with the state and the effects that must follow.
type story struct {
	*testing.T
	m       Machine
	now     time.Duration
	effects []Effect
}

func newStory(t *testing.T) *story {
	return &story{T: t, now: time.Hour, m: Machine{Limits: DefaultLimits(), Seed: 1}}
}

// when feeds an event about the current life; then says where that leads, effects in the words of told.
func (s *story) when(e Event) *story {
	s.Helper()
	if wishes[e.Kind] == nil && e.Life == 0 {
		e.Life = s.m.Life
	}
	s.m, s.effects = Step(s.m, e, s.now)
	return s
}

func (s *story) then(state State, effects string) {
	s.Helper()
	if got := told(s.effects); s.m.State != state || got != effects {
		s.Fatalf("then it is %v and does %q; want %v, %q", s.m.State, got, state, effects)
	}
}

func (s *story) after(d time.Duration) *story { s.now += d; return s }

// due passes the time to the deadline and fires the timer.
func (s *story) due() *story {
	s.Helper()
	if s.m.Deadline == 0 {
		s.Fatalf("there is no timer in %v", s.m.State)
	}
	s.now = s.m.Deadline
	return s.when(Event{Kind: EventTimer})
}

// held is the gate's answer.
func (s *story) held(n int) *story {
	s.Helper()
	return s.when(Event{Kind: EventHeld, Barrier: s.m.Barrier, InFlight: n})
}

func (s *story) exited(code int, lines ...string) *story {
	s.Helper()
	return s.when(Event{Kind: EventExited, Exit: Exit{Known: true, Code: code, LastLines: lines}})
}

// clientsRead is what the gate was just told to refuse with: nothing that the worker printed.
func (s *story) clientsRead(want string) {
	s.Helper()
	var got string
	for _, e := range s.effects {
		if e.Kind == EffectRefuse {
			got = e.Why
		}
	}
	if got != want {
		s.Errorf("clients read %q, want %q", got, want)
	}
}

// serves takes a machine to its next serving life.
func (s *story) serves() *story {
	s.Helper()
	if s.m.State == Down {
		s.when(Event{Kind: EventBoot})
	}
	s.getsReady()
	if s.m.State != Serving {
		s.Fatalf("life %d should serve, it is %v", s.m.Life, s.m.State)
	}
	return s
}

// getsReady takes a machine that launches a life to where that could serve.
func (s *story) getsReady() *story {
	s.Helper()
	if s.m.State == BackingOff {
		s.due()
	}
	s.when(Event{Kind: EventStarted, PID: 100 + int(s.m.Life)})
	return s.after(20 * time.Second).when(Event{Kind: EventReady})
}

// nextRunner dies and takes over from the record.
func (s *story) nextRunner() *story {
	s.Helper()
	m, err := ReadRecord(s.m.AppendRecord(nil))
	if err != nil {
		s.Fatal(err)
	}
	m.Limits = s.m.Limits
	s.m = m
	return s.when(Event{Kind: EventBoot})
}

var byHand = Event{Kind: EventRestart, Reason: health.Operator, By: "uid 0", Ask: 1}

func byHandNow() Event {
	e := byHand
	e.Now = true
	return e
}

func because(r health.Reason) Event { return Event{Kind: EventRestart, Reason: r, By: "judge"} }

func TestAFirstStart(t *testing.T) {
	s := newStory(t)
	s.when(Event{Kind: EventBoot}).then(Launching, "hold launch")
	s.when(Event{Kind: EventStarted, PID: 101}).then(Warming, "watch await")
	s.after(20*time.Second).when(Event{Kind: EventReady}).then(Serving, "open")
	if s.m.Life != 1 || s.m.PID != 101 || s.m.Warmup != 20*time.Second || s.m.Restarts != 0 {
		t.Errorf("life %d, PID %d, warm after %v, %d restarts", s.m.Life, s.m.PID, s.m.Warmup, s.m.Restarts)
	}
}

func TestAPlannedRestart(t *testing.T) {
	s := newStory(t).serves().after(time.Hour)
	s.when(byHand).then(Draining, "mark answer{taken} hold")
	s.held(212).then(Draining, "")
	s.after(5*time.Second).when(Event{Kind: EventDrained}).then(Draining, "hold")
	s.held(0).then(Terminating, "terminate")
	s.after(time.Second).exited(0).then(Reclaiming, "reclaim")
	s.after(time.Second).when(Event{Kind: EventReclaimed}).then(Launching, "hold launch")
	s.serves()
	s.then(Serving, "open journal{done}")

	r := s.m.Unrecorded
	want := Restart{
		ID: 1, Revision: r.Revision, Reason: health.Operator, By: "uid 0", From: 1, To: 2, Starts: 1, Open: 212, Result: Done,
		Asked: r.Asked, Took: 27 * time.Second,
		Spent: Spent{PhaseDraining: 5 * time.Second, PhaseStopping: time.Second, PhaseReclaiming: time.Second, PhaseStarting: 20 * time.Second},
	}
	if r != want {
		t.Errorf("its account is\n%+v, want\n%+v", r, want)
	}
	s.when(Event{Kind: EventJournaled, Restart: 1})
	if s.m.Unrecorded != (Restart{}) {
		t.Error("the account is kept though the journal has it")
	}
}

func TestARestartIsPostponedAtTheDrainDeadline(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(212)
	s.due().then(Draining, "hold") // once more: the last stream may just have ended
	s.held(3).then(Serving, "open journal{postponed}")
	if r := s.m.Unrecorded; r.InTheWay != 3 || r.Open != 212 || s.m.Life != 1 {
		t.Errorf("life %d serves, with %d of %d streams in the way; want life 1, 3 of 212", s.m.Life, r.InTheWay, r.Open)
	}

	for open, want := range map[int]string{1: "1 stream was still open after 2m0s", 3: "3 streams were still open after 2m0s"} {
		if s.when(byHand).held(open).due().held(open); s.m.Unrecorded.Detail != want {
			t.Errorf("its account says %q, want %q", s.m.Unrecorded.Detail, want)
		}
	}

	s.when(byHand).held(212)
	s.due().held(0).then(Terminating, "terminate")
}

func TestAnOldAnswerOfTheGateStopsNothing(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand)
	old := Event{Kind: EventHeld, Barrier: s.m.Barrier, InFlight: 0}
	s.held(3).due().held(3).then(Serving, "open journal{postponed}")

	s.when(byHand).when(old).then(Draining, "")
	s.when(Event{Kind: EventDrained}).then(Draining, "hold") // also an old one: the gate is asked
	s.held(5).then(Draining, "")
}

func TestOnlyNowAndGraveReasonsCut(t *testing.T) {
	for _, c := range []struct {
		asked  Event
		atOnce bool
		atEnd  string // at the drain deadline
	}{
		{asked: byHandNow(), atOnce: true},
		{asked: byHand, atEnd: "open journal{postponed}"},
		{asked: because(health.Config), atEnd: "open journal{postponed}"},
		{asked: because(health.MemoryForecast), atEnd: "open journal{postponed}"},
		{asked: because(health.Age), atEnd: "open journal{postponed}"},
		{asked: because(health.MemoryLimit), atEnd: "cut{deadline}"},
		{asked: because(health.Unhealthy), atEnd: "cut{deadline}"},
		{asked: because(health.Hung), atEnd: "cut{deadline}"},
		{asked: because(health.GPUFault), atEnd: "cut{deadline}"},
	} {
		t.Run(c.asked.Reason.String(), func(t *testing.T) {
			s := newStory(t).serves()
			s.when(c.asked).held(7)
			if c.atOnce {
				s.then(Cutting, "cut{operator}")
			} else {
				s.then(Draining, "")
				s.due().held(7)
				if got := told(s.effects); got != c.atEnd {
					t.Fatalf("at the drain deadline it does %q, want %q", got, c.atEnd)
				}
			}
			if s.m.State == Cutting {
				s.when(Event{Kind: EventDrained}).then(Cutting, "hold")
				s.held(0).then(Terminating, "terminate")
			}
		})
	}
}

func TestCutStreamsAreWaitedForOnlyAMoment(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHandNow()).held(7).then(Cutting, "cut{operator}")
	s.due().then(Terminating, "terminate")
}

func TestARestartAskedDuringARestartIsJoined(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(7)
	s.when(byHand).then(Draining, "answer{joined} hold")
	if s.effects[0].Restart != 1 {
		t.Errorf("joined restart %d, want 1", s.effects[0].Restart)
	}
	s.held(0).exited(0).when(Event{Kind: EventReclaimed})
	s.when(byHand).then(Launching, "answer{joined}")
	s.when(Event{Kind: EventStarted, PID: 102}).when(byHandNow()).then(Warming, "answer{joined}")
	s.when(Event{Kind: EventReady}).then(Serving, "open journal{done}")
	if r := s.m.Unrecorded; r.Joined != 3 || r.To != 2 {
		t.Errorf("%d have joined restart %d to life %d; want 3, life 2", r.Joined, r.ID, r.To)
	}
}

func TestNowHurriesTheRestartThatItJoins(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(7).then(Draining, "")
	s.when(byHandNow()).then(Draining, "answer{joined} hold")
	s.held(7).then(Cutting, "cut{operator}")
}

func TestTheFirstStartIsJoinedToo(t *testing.T) {
	s := newStory(t)
	s.when(Event{Kind: EventBoot}).when(byHand).then(Launching, "mark answer{joined}")
	s.serves().then(Serving, "open journal{done}")
	if r := s.m.Unrecorded; r.From != 0 || r.To != 1 || r.Starts != 1 {
		t.Errorf("from life %d to %d in %d starts, want 0, 1, 1", r.From, r.To, r.Starts)
	}
}

func TestAnyExitWhileServingIsACrash(t *testing.T) {
	for _, code := range []int{0, 1} {
		s := newStory(t).serves().after(2 * time.Hour)
		s.exited(code, "Loading", "CUDA out of memory").then(Reclaiming, "mark hold cut{crash} kill reclaim")
		s.held(212)
		s.when(Event{Kind: EventReclaimed}).then(BackingOff, "")
		want := "life 1: exited " + string(rune('0'+code)) + " after 2h0m0s: Loading | CUDA out of memory"
		if s.m.LastError != want {
			t.Errorf("it says %q, want %q", s.m.LastError, want)
		}
		s.serves().then(Serving, "open journal{done}")
		if r := s.m.Unrecorded; r.Reason != health.Crashed || r.Open != 212 || r.Detail != want || r.From != 1 || r.To != 2 {
			t.Errorf("its account: %+v", r)
		}
	}
}

func TestBackoffDoublesWithJitterAndIsForgotten(t *testing.T) {
	s := newStory(t).serves()
	s.m.Limits.CrashesPerHour = MaxCrashes - 1
	jitter := map[time.Duration]bool{}
	for i, most := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		most *= time.Second
		s.exited(1).when(Event{Kind: EventReclaimed})
		d := s.m.Deadline - s.now
		if d > most || d < most*3/4 {
			t.Errorf("back-off %d is %v, want %v to %v", i+1, d, most*3/4, most)
		}
		jitter[most-d] = true
		s.serves()
	}
	if len(jitter) < 8 {
		t.Errorf("only %d of 8 back-offs differ by chance", len(jitter))
	}
	s.after(s.m.Limits.Stable).exited(1).when(Event{Kind: EventReclaimed})
	if d := s.m.Deadline - s.now; d > time.Second {
		t.Errorf("after a stable life the back-off is %v, want 1s at most", d)
	}
}

func TestTooManyCrashesHalt(t *testing.T) {
	s := newStory(t).serves()
	for range s.m.Limits.CrashesPerHour {
		s.exited(1).when(Event{Kind: EventReclaimed}).then(BackingOff, "")
		s.serves()
	}
	s.exited(1, "CUDA out of memory").when(Event{Kind: EventReclaimed}).then(Halted, "refuse journal{given_up}")
	if why := s.m.LastError; !strings.HasPrefix(why, "halted after 21 crashes within an hour") || !strings.HasSuffix(why, "CUDA out of memory") {
		t.Errorf("it says %q", why)
	}
	s.clientsRead(byGivingUp)
	s.when(because(health.Unhealthy)).then(Halted, "answer{refused}")
	s.nextRunner().then(Halted, "journal{given_up} refuse")
	s.clientsRead(byGivingUp)

	s.when(byHand).then(Launching, "mark answer{taken} hold launch")
	s.serves().exited(1).when(Event{Kind: EventReclaimed}).then(BackingOff, "") // a person's word: a new count
}

func TestCrashesOfAnHourAgoDontCount(t *testing.T) {
	s := newStory(t).serves()
	for range 3 * s.m.Limits.CrashesPerHour {
		s.after(3*time.Minute).exited(1).when(Event{Kind: EventReclaimed}).then(BackingOff, "")
		s.serves()
	}
}

func TestACrashWhileDrainingEndsTheDrain(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(7)
	s.exited(139).then(Reclaiming, "hold cut{crash} kill reclaim")
	s.held(7)
	s.when(Event{Kind: EventReclaimed})
	s.serves().then(Serving, "open journal{done}")
	if r := s.m.Unrecorded; r.Reason != health.Operator || !strings.Contains(r.Detail, "exited 139") {
		t.Errorf("its account: %v, %q; want operator, and that it exited 139", r.Reason, r.Detail)
	}
}

// The gate sees the streams of a dead worker end before the driver sees the exit: nothing seems to be in the way, and TERM meets
// nobody.
func TestADeathThatTheGateSeesFirstIsACrash(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(7)
	s.when(Event{Kind: EventDrained}).held(0).then(Terminating, "terminate")
	s.when(Event{Kind: EventExited, Exit: Exit{Known: true, Signal: "SIGKILL", Unasked: true}}).then(Reclaiming, "hold cut{crash} kill reclaim")
	if want := "the worker died while draining: life 1: was killed by SIGKILL after 0s"; s.m.LastError != want || s.m.Restart.Detail != want {
		t.Errorf("it says %q, its account %q; want %q", s.m.LastError, s.m.Restart.Detail, want)
	}
	s.when(Event{Kind: EventReclaimed}).then(BackingOff, "")

	s = newStory(t).when(Event{Kind: EventBoot}).when(Event{Kind: EventStarted, PID: 101})
	s.when(Event{Kind: EventNotReady, Why: "port 8001 belongs to nginx"}).then(Terminating, "mark terminate")
	s.when(Event{Kind: EventExited, Exit: Exit{Known: true, Code: 1, Unasked: true}}).then(Reclaiming, "kill reclaim")
	if want := "start life 1: port 8001 belongs to nginx"; s.m.LastError != want || s.m.Failures != 1 {
		t.Errorf("it says %q after %d failures, want %q after 1", s.m.LastError, s.m.Failures, want)
	}
}

func TestWhatMadeAStopSlowIsInTheAccount(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(0).due().then(Killing, "kill")
	s.exited(0)
	if got, want := s.m.Restart.Detail, "the worker ignored SIGTERM for 30s"; got != want {
		t.Errorf("after KILL its account says %q, want %q", got, want)
	}

	s = newStory(t).serves()
	s.m.Limits.StopGrace = time.Second
	s.when(byHand).held(0).exited(0)
	if got := s.m.Deadline - s.now; got != time.Second {
		t.Errorf("children that outlive a worker get %v, want the stop grace, 1s", got)
	}
	s.now = s.m.Deadline
	s.when(Event{Kind: EventTimer, Why: "yes (PID 123, state R)"}).then(Purging, "kill reclaim")
	if got, want := s.m.Restart.Detail, "what it had started outlived the worker: yes (PID 123, state R)"; got != want {
		t.Errorf("its account says %q, want %q", got, want)
	}

	s = newStory(t).serves()
	s.exited(1).due()
	if got := s.m.Restart.Detail; !strings.HasPrefix(got, "life 1: exited 1") {
		t.Errorf("children that outlive a crash are its account's cause: %q", got)
	}
}

func TestProgressPushesTheStartDeadline(t *testing.T) {
	s := newStory(t)
	s.when(Event{Kind: EventBoot}).when(Event{Kind: EventStarted, PID: 101})
	limit := s.m.Limits.StartDeadline
	for range 10 {
		s.after(limit-time.Second).when(Event{Kind: EventProgress}).then(Warming, "")
		if left := s.m.Deadline - s.now; left != limit {
			t.Fatalf("after progress %v are left, want %v", left, limit)
		}
	}
	s.now = s.m.Deadline
	s.when(Event{Kind: EventTimer, Why: "127.0.0.1:8001: connection refused: Loading weights 12/40"}).then(Terminating, "mark terminate")
	s.exited(143, "got SIGTERM").then(Reclaiming, "reclaim")
	if want := "start life 1: not ready, and no progress for 15m0s: 127.0.0.1:8001: connection refused: Loading weights 12/40"; s.m.LastError != want {
		t.Errorf("it says %q, want %q", s.m.LastError, want)
	}
	s.when(Event{Kind: EventReclaimed}).then(BackingOff, "")
}

func TestAFailedStartSaysWhy(t *testing.T) {
	for _, c := range []struct {
		event Event
		state State
		want  string
	}{
		{Event{Kind: EventStartFailed, Why: "no such file"}, BackingOff, "start life 1: no such file"},
		{Event{Kind: EventNotReady, Why: "port 8001 belongs to nginx (PID 7)"}, Terminating, "start life 1: port 8001 belongs to nginx (PID 7)"},
		{Event{Kind: EventExited, Exit: Exit{Known: true, Signal: "SIGSEGV"}}, Reclaiming, "start life 1: was killed by SIGSEGV after 3s"},
		{Event{Kind: EventExited}, Reclaiming, "start life 1: is gone after 3s"},
	} {
		s := newStory(t).when(Event{Kind: EventBoot})
		if c.event.Kind != EventStartFailed {
			s.when(Event{Kind: EventStarted, PID: 101})
		}
		s.after(3 * time.Second).when(c.event)
		if s.m.State != c.state || s.m.LastError != c.want {
			t.Errorf("%v, %q; want %v, %q", s.m.State, s.m.LastError, c.state, c.want)
		}
	}
}

func TestALifeThatWontEndIsNotReplaced(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(0).then(Terminating, "terminate")
	s.due().then(Killing, "kill")
	s.due().then(Purging, "kill reclaim")
	s.due().then(Halted, "refuse journal{given_up}")
	s.clientsRead(byNoEnd)
	s.nextRunner().clientsRead(byNoEnd)
	s.when(byHand).then(Finding, "mark answer{taken} find") // and not launched beside it
	s.when(Event{Kind: EventFound, PID: 101}).then(Purging, "watch hold cut{deadline} kill reclaim")
	s.when(Event{Kind: EventReclaimed}).then(Launching, "hold launch")
}

func TestChildrenThatOutliveAStopGetAWhile(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(0).exited(0).then(Reclaiming, "reclaim")
	s.due().then(Purging, "kill reclaim")
	s.when(Event{Kind: EventReclaimed}).then(Launching, "hold launch")
}

func TestLeaving(t *testing.T) {
	s := newStory(t).serves()
	s.when(Event{Kind: EventLeave}).then(Draining, "leave hold")
	s.held(7)
	s.when(byHand).then(Draining, "answer{refused}")
	s.due().held(7).then(Cutting, "cut{deadline}")
	s.when(Event{Kind: EventDrained}).held(0).then(Terminating, "terminate")
	s.nextRunner().then(Finding, "leave find") // a runner that dies while it leaves
	s.when(Event{Kind: EventFound, PID: 101}).then(Terminating, "watch hold cut{deadline} terminate")
	s.exited(0).when(Event{Kind: EventReclaimed}).then(Left, "finish")
	s.nextRunner().then(Left, "leave finish")
}

func TestLeavingInADrainGivesItAWholeDeadline(t *testing.T) {
	s := newStory(t).serves()
	s.when(byHand).held(7)
	s.after(time.Minute).when(Event{Kind: EventLeave}).then(Draining, "journal{overtaken} leave hold")
	if left := s.m.Deadline - s.now; left != s.m.Limits.Drain {
		t.Errorf("%v are left, want %v", left, s.m.Limits.Drain)
	}
	s.after(time.Minute).when(Event{Kind: EventLeave}).then(Draining, "")
	if left := s.m.Deadline - s.now; left != s.m.Limits.Drain-time.Minute {
		t.Errorf("said twice, %v are left", left)
	}
}

func TestASecondTermHurries(t *testing.T) {
	s := newStory(t).serves()
	s.when(Event{Kind: EventLeave}).held(7)
	s.when(Event{Kind: EventHurry}).then(Draining, "hold")
	s.held(7).then(Cutting, "cut{operator}")
	s.due().then(Terminating, "terminate")
	if grace := s.m.Deadline - s.now; grace > 2*time.Second {
		t.Errorf("in a hurry the worker gets %v", grace)
	}
	s.when(Event{Kind: EventHurry}).then(Killing, "kill")
}

func TestAStopStays(t *testing.T) {
	s := newStory(t).serves()
	s.when(Event{Kind: EventStop}).then(Draining, "answer{taken} hold")
	s.held(7)
	if s.m.Deadline != 0 {
		t.Error("a stop has a drain deadline, though nobody said that it may cut")
	}
	s.held(0).exited(0).when(Event{Kind: EventReclaimed}).then(Stopped, "refuse")
	s.when(because(health.GPUFault)).then(Stopped, "answer{refused}")
	s.nextRunner().then(Stopped, "refuse")
	s.when(Event{Kind: EventStart}).then(Launching, "answer{taken} hold launch")
}

func TestAStopTakenBackWhileItDrains(t *testing.T) {
	s := newStory(t).serves()
	s.when(Event{Kind: EventStop}).held(7)
	s.when(Event{Kind: EventStart}).then(Serving, "answer{taken} open")
	s.when(byHand).held(7).when(Event{Kind: EventStop}).then(Draining, "journal{overtaken} answer{taken} hold")
}

// Each state, its runner killed there: what the next one does when it finds the life, and when it doesn't.
func TestTakeOver(t *testing.T) {
	now := func(e Event) func(*story) { return func(s *story) { s.serves().when(e) } }
	for _, c := range []struct {
		at             string
		reach          func(*story)
		boot           string
		found, missing State
		doFound, doNot string
	}{
		{
			at: "launching", reach: func(s *story) { s.when(Event{Kind: EventBoot}) }, boot: "find",
			found: Warming, doFound: "watch await", missing: BackingOff, doNot: "hold mark",
		},
		{
			at: "warming", reach: func(s *story) { s.when(Event{Kind: EventBoot}).when(Event{Kind: EventStarted, PID: 101}) }, boot: "find",
			found: Warming, doFound: "watch await", missing: BackingOff, doNot: "hold mark",
		},
		{
			at: "serving", reach: func(s *story) { s.serves() }, boot: "find",
			found: Serving, doFound: "watch open", missing: BackingOff, doNot: "hold mark cut{crash}",
		},
		{
			at: "draining", reach: now(byHand), boot: "mark find",
			found: Draining, doFound: "watch hold", missing: BackingOff, doNot: "hold cut{crash}",
		},
		{
			at: "cutting", reach: func(s *story) { s.serves().when(byHandNow()).held(7) }, boot: "mark find",
			found: Cutting, doFound: "watch hold cut{operator}", missing: BackingOff, doNot: "hold cut{crash}",
		},
		{
			at: "terminating", reach: func(s *story) { s.serves().when(byHand).held(0) }, boot: "mark find",
			found: Terminating, doFound: "watch hold cut{deadline} terminate", missing: Launching, doNot: "hold cut{crash} hold launch",
		},
		{
			at: "killing", reach: func(s *story) { s.serves().when(byHand).held(0).due() }, boot: "mark find",
			found: Killing, doFound: "watch hold cut{deadline} kill", missing: Launching, doNot: "hold cut{crash} hold launch",
		},
		{
			at: "reclaiming", reach: func(s *story) { s.serves().when(byHand).held(0).exited(0) }, boot: "mark find",
			found: Purging, doFound: "watch hold cut{deadline} kill reclaim", missing: Launching, doNot: "hold cut{crash} hold launch",
		},
		{
			at: "reclaiming after a crash", reach: func(s *story) { s.serves().exited(1) }, boot: "mark find",
			found: Purging, doFound: "watch hold cut{crash} kill reclaim", missing: BackingOff, doNot: "hold cut{crash}",
		},
	} {
		t.Run(c.at, func(t *testing.T) {
			s := newStory(t)
			c.reach(s)
			life, deadline := s.m.Life, s.m.Deadline
			s.nextRunner().then(Finding, c.boot)
			before := s.m
			if phase := before.Phase(); phase != phases[s.m.Noted] {
				t.Errorf("while it looks people see %v", phase)
			}

			s.when(Event{Kind: EventFound, PID: 101}).then(c.found, c.doFound)
			if s.m.Life != life {
				t.Errorf("life %d goes on as %d", life, s.m.Life)
			}
			if s.m.State == s.m.Noted && s.m.State != Warming && s.m.Deadline != deadline {
				t.Errorf("the deadline was %v and is %v", deadline, s.m.Deadline)
			}
			s.m = before
			s.when(Event{Kind: EventMissing}).then(c.missing, c.doNot)
		})
	}
}

func TestATakeOverWhileBackingOffGoesOnWaiting(t *testing.T) {
	s := newStory(t).serves().exited(1).when(Event{Kind: EventReclaimed})
	deadline := s.m.Deadline
	s.nextRunner().then(BackingOff, "mark hold cut{crash}")
	if s.m.Deadline != deadline {
		t.Errorf("the next start was due at %v and is at %v", deadline, s.m.Deadline)
	}
	s.due().then(Launching, "hold launch")
}

func TestNotToKnowIsNoLeaveToStart(t *testing.T) {
	s := newStory(t).serves()
	s.nextRunner()
	for range 30 {
		s.when(Event{Kind: EventFindFailed, Why: "/proc is gone"}).then(Finding, "")
		s.due().then(Finding, "find")
	}
	s.when(Event{Kind: EventFindFailed, Why: "/proc is gone"}).then(Halted, "refuse")
	s.when(byHand).then(Finding, "mark answer{taken} find")
}

func TestALifeThatWasNotFoundInTimeGoesOnWhenItIs(t *testing.T) {
	s := newStory(t).serves()
	s.nextRunner()
	for range 30 {
		s.when(Event{Kind: EventFindFailed, Why: "/proc is gone"})
		s.due()
	}
	s.when(Event{Kind: EventFindFailed, Why: "/proc is gone"}).then(Halted, "refuse")
	s.nextRunner().then(Halted, "refuse")
	s.when(Event{Kind: EventStart}).then(Finding, "answer{taken} find")
	s.when(Event{Kind: EventFound, PID: 101}).then(Serving, "watch open") // its streams run on
}

func TestAnEventOfAnotherLifeIsDropped(t *testing.T) {
	for s := range State(numStates) {
		for k := EventTimer; int(k) < numEvents; k++ {
			before := typical(s)
			e := typicalEvent(k, &before)
			e.Life--
			after, effects := Step(before, e, max(before.Deadline, before.Since))
			if after != before || effects != nil {
				t.Errorf("%v of an older life in %v led to %v: %v", k, s, after.State, told(effects))
			}
		}
	}
}

func TestATimerThatIsNotDueIsDropped(t *testing.T) {
	for s := range State(numStates) {
		before := typical(s)
		after, effects := Step(before, Event{Kind: EventTimer, Life: before.Life}, before.Deadline-1)
		if after != before || effects != nil {
			t.Errorf("a timer that is not due led from %v to %v: %v", s, after.State, told(effects))
		}
	}
}
