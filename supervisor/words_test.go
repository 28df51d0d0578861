package supervisor

import (
	"errors"
	"testing"
	"time"
)

var (
	drainWord = Event{Kind: EventDrain, By: "uid 0", Ask: 1}
	openWord  = Event{Kind: EventOpen, Ask: 1}
	stopWord  = Event{Kind: EventStop, By: "uid 0", Ask: 1}
	startWord = Event{Kind: EventStart, Ask: 1}
)

func TestADrainHoldsTheGateAndLeavesTheWorker(t *testing.T) {
	s := newStory(t).serves()
	s.when(drainWord).then(Holding, "answer{taken} hold")
	s.held(212).then(Holding, "")
	if s.m.Deadline != 0 {
		t.Error("a person's drain has a deadline")
	}
	s.when(Event{Kind: EventDrained}).then(Holding, "")
	s.when(drainWord).then(Holding, "answer{joined}")
	s.when(openWord).then(Serving, "answer{taken} open")
	s.when(openWord).then(Serving, "answer{joined}")
	if s.m.Life != 1 || s.m.Restarts != 0 {
		t.Errorf("life %d after %d restarts, want life 1 and none", s.m.Life, s.m.Restarts)
	}
}

func TestADrainOutlivesEverything(t *testing.T) {
	for name, through := range map[string]func(*story){
		"our death": func(s *story) {
			s.nextRunner().when(Event{Kind: EventFound, PID: 101})
			s.then(Holding, "watch hold")
		},
		"a crash": func(s *story) {
			s.exited(1).then(Reclaiming, "mark hold cut{crash} kill reclaim")
			s.when(Event{Kind: EventReclaimed}).getsReady().then(Holding, "hold journal{done}")
		},
		"a death of both": func(s *story) {
			s.nextRunner().when(Event{Kind: EventMissing}).then(BackingOff, "hold mark cut{crash}")
			s.getsReady().then(Holding, "hold journal{done}")
		},
		"a restart": func(s *story) {
			s.when(byHand).held(0).exited(0)
			s.when(Event{Kind: EventReclaimed}).getsReady().then(Holding, "hold journal{done}")
		},
		"a restart that cuts": func(s *story) {
			s.when(byHandNow()).held(7).then(Cutting, "cut{operator}")
			s.held(0).exited(0)
			s.when(Event{Kind: EventReclaimed}).getsReady().then(Holding, "hold journal{done}")
			s.when(byHand).held(7).then(Draining, "") // what was permitted then means nothing now
		},
		"a restart that is postponed": func(s *story) {
			s.when(byHand).held(7)
			s.due().held(7).then(Holding, "hold journal{postponed}")
		},
		"a stop and a start": func(s *story) {
			s.when(stopWord).held(0).exited(0)
			s.when(Event{Kind: EventReclaimed}).then(Stopped, "refuse")
			s.when(startWord).then(Launching, "answer{taken} hold launch")
			s.getsReady().then(Holding, "hold")
		},
		"a stop that is taken back": func(s *story) {
			s.when(stopWord).held(7)
			s.when(startWord).then(Holding, "answer{taken} hold")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t).serves().when(drainWord)
			through(s)
			if s.m.State == Draining {
				s.held(0).exited(0).when(Event{Kind: EventReclaimed}).getsReady()
			}
			s.when(openWord).then(Serving, "answer{taken} open")
		})
	}
}

func TestADrainMayComeAtAnyTime(t *testing.T) {
	s := newStory(t).when(Event{Kind: EventBoot}).when(drainWord)
	s.getsReady().then(Holding, "hold")

	s = newStory(t).serves()
	s.when(byHand).held(7).when(drainWord).then(Draining, "answer{taken} hold")
	s.held(0).exited(0).when(Event{Kind: EventReclaimed})
	s.when(openWord).then(Launching, "answer{taken}")
	s.serves().then(Serving, "open journal{done}") // taken back before the gate would have opened

	s = newStory(t).serves().nextRunner().when(drainWord).is(Finding)
	s.when(Event{Kind: EventFound, PID: 101}).then(Holding, "watch hold")
}

func (s *story) is(state State) *story {
	s.Helper()
	if s.m.State != state {
		s.Fatalf("then it is %v, want %v", s.m.State, state)
	}
	return s
}

func TestAStopWaitsUntilItsStreamsHaveEnded(t *testing.T) {
	s := newStory(t).serves()
	s.when(stopWord).then(Draining, "answer{taken} hold")
	s.held(7).then(Draining, "")
	if s.m.Deadline != 0 {
		t.Error("a stop has a deadline, and nobody said that it may cut")
	}
	s.when(Event{Kind: EventDrained}).held(0).then(Terminating, "terminate")
	s.exited(0).when(Event{Kind: EventReclaimed}).then(Stopped, "refuse")
	s.clientsRead(byStop)
	s.nextRunner().then(Stopped, "refuse")
	if want := (Word{s.m.Stop.At, "uid 0"}); s.m.Stop != want || s.m.Stop.At == 0 {
		t.Errorf("the next runner knows it stopped by %+v", s.m.Stop)
	}
	s.when(startWord).then(Launching, "answer{taken} hold launch")
	s.serves().then(Serving, "open")
	if s.m.Stop != (Word{}) {
		t.Error("it serves, and is told to be stopped by a person")
	}

	s = newStory(t).serves()
	s.when(stopWord).held(7)
	now := stopWord
	now.Now = true
	s.when(now).then(Draining, "answer{joined} hold")
	s.held(7).then(Cutting, "cut{operator}")
}

func TestPeoplesWordsAreAnsweredAndShown(t *testing.T) {
	within(t, func(t *testing.T, h *host) {
		s := h.run()
		h.pass(time.Minute)
		if asked, err := s.Drain(t.Context(), "uid 1000"); err != nil || asked.Joined || asked.Life != 1 {
			t.Errorf("a drain: %+v, %v", asked, err)
		}
		h.arrive(time.Second)
		h.pass(time.Minute)
		if st := s.Status(); st.State != Holding || st.Drained.By != "uid 1000" || time.Since(st.Drained.Since) < time.Minute || len(h.gate.waiting) != 1 {
			t.Errorf("drained: %v by %+v, %d wait", st.State, st.Drained, len(h.gate.waiting))
		}
		h.kill()
		s = h.run()
		h.pass(time.Minute)
		if st := s.Status(); st.State != Holding || st.Drained.By != "uid 1000" || len(h.gate.waiting) != 1 {
			t.Errorf("after our death: %v by %+v, %d wait", st.State, st.Drained, len(h.gate.waiting))
		}
		if _, err := s.Open(t.Context(), "uid 1000"); err != nil {
			t.Error(err)
		}
		h.pass(time.Minute)
		if h.gate.done != 1 || s.Status().Drained != (Standing{}) {
			t.Errorf("opened: %d done, drained by %+v", h.gate.done, s.Status().Drained)
		}

		if _, err := s.Stop(t.Context(), "uid 0", false); err != nil {
			t.Error(err)
		}
		h.pass(time.Minute)
		if st := s.Status(); st.State != Stopped || st.Stopped.By != "uid 0" || h.alive() != nil {
			t.Errorf("stopped: %v by %+v, lives %v", st.State, st.Stopped, h.alive())
		}
		h.kill()
		s = h.run()
		h.pass(time.Hour)
		if st := s.Status(); st.State != Stopped || h.alive() != nil {
			t.Errorf("stopped, after our death: %v, lives %v", st.State, h.alive())
		}
		if _, err := s.Start(t.Context(), "uid 0"); err != nil {
			t.Error(err)
		}
		h.pass(time.Minute)
		if st := s.Status(); st.State != Serving || st.Life != 2 || st.Stopped != (Standing{}) {
			t.Errorf("started: %v, life %d, stopped by %+v", st.State, st.Life, st.Stopped)
		}
		h.end(s)
		for what, word := range map[string]func() (Asked, error){
			"stop": func() (Asked, error) { return s.Stop(t.Context(), "uid 0", false) }, "open": func() (Asked, error) { return s.Open(t.Context(), "uid 0") },
		} {
			if _, err := word(); !errors.Is(err, ErrLeaving) {
				t.Errorf("%s after the end: %v", what, err)
			}
		}
	})
}
