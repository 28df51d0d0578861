package relay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/gate"
)

// anyPath makes every POST repeatable.
func anyPath(o *Options) { o.Replay.Paths = []string{""} }

// suspects starts a world with a request for each path, at times of their own, which no worker answers.
func suspects(t *testing.T, paths ...string) (*world, []*client) {
	t.Helper()
	w := newWorld(t, 3, false)
	w.options = anyPath
	w.start()
	var clients []*client
	for _, path := range paths {
		w.answers[path] = silence
		clients = append(clients, w.connect(post(path, "prompt")))
		w.moves(10) // each arrives at a time of its own
	}
	return w, clients
}

// answered lets the worker answer a path, where it has the request already too.
func (w *world) answered(path string) {
	w.answers[path] = okAnswer(path)
	for _, x := range w.workers {
		x.begun, x.listened = x.closed, 0
	}
}

// again is who came to a worker more than once, in order of first sight.
func (w *world) again(paths ...string) (came []string) {
	for _, path := range paths {
		if w.heard[path] > 1 {
			came = append(came, path)
		}
	}
	return came
}

func TestARequestThatTwoLivesDiedOfEndsLoudly(t *testing.T) {
	for name, crash := range map[string]func(*world){
		"the death is told first":                         (*world).crash,
		"the connections break first":                     func(w *world) { w.workerDies(); w.moves(20); w.tellCrash() },
		"long before":                                     func(w *world) { w.workerDies(); w.passTime(newsTime / 2); w.tellCrash() },
		"and it is told twice":                            func(w *world) { w.crash(); w.tellCrash() },
		"and a runner takes over before it is told":       func(w *world) { w.workerDies(); w.moves(20); w.start(); w.tellCrash() },
		"and a runner takes over before anything is seen": func(w *world) { w.workerDies(); w.start(); w.tellCrash() },
		"and a runner takes over after it":                func(w *world) { w.crash(); w.start() },
	} {
		t.Run(name, func(t *testing.T) {
			w, c := suspects(t, "/poison")
			for range 2 {
				crash(w)
				w.moves(5)
				w.revive()
				w.passTime(2 * retryMost)
			}
			w.moves(20)
			w.refusedWith(c[0], 502, "request_suspected", "false")
			w.outcomes("cut 1")
			if n := w.relay.counts(); n.Cuts["suspect"] != 1 || n.Condemned != 1 || w.heard["/poison"] != 2 {
				t.Errorf("cuts %v, condemned %d, heard %d times", n.Cuts, n.Condemned, w.heard["/poison"])
			}
			w.noBlocks()
		})
	}
}

func TestTheSameRequestIsRefusedForAWhile(t *testing.T) {
	w, c := suspects(t, "/poison")
	for range 2 {
		w.crash()
		w.revive()
		w.moves(30)
	}
	w.refusedWith(c[0], 502, "request_suspected", "false")
	w.answers["/poison"], w.answers["/other"] = okAnswer("fine"), okAnswer("fine")
	ask := func(request string) *client {
		c := w.connect(request)
		w.finish()
		return c
	}
	w.start() // another runner knows it too
	w.refusedWith(ask(post("/poison", "prompt")), 502, "request_suspected", "false")
	w.refusedWith(ask("POST /poison HTTP/1.1\r\nHost: y\r\nTransfer-Encoding: chunked\r\n\r\n"+chunk("pro")+chunk("mpt")+"0\r\n\r\n"), 502, "request_suspected", "false")
	if w.heard["/poison"] != 2 {
		t.Errorf("it came to the worker %d times, want 2", w.heard["/poison"])
	}
	if n := w.relay.counts(); n.SuspectsRefused != 2 || n.Outcomes["refused"] != 2 {
		t.Errorf("%d suspects refused, outcomes %v", n.SuspectsRefused, n.Outcomes)
	}
	for _, other := range []string{post("/poison", "Prompt"), post("/other", "prompt"), "GET /poison HTTP/1.1\r\nHost: x\r\n\r\n"} {
		if r := w.only(ask(other)); r.body != "fine" {
			t.Errorf("another request, %q, got %+v", other, r)
		}
	}
	w.kernel.Clock += int64(condemnedFor)
	if r := w.only(ask(post("/poison", "prompt"))); r.body != "fine" {
		t.Errorf("after %v: %+v", condemnedFor, r)
	}
}

func TestSuspectsPassOneAtATimeTheLastFirst(t *testing.T) {
	paths := []string{"/a", "/b", "/c"}
	w, c := suspects(t, paths...)
	w.crash()
	w.moves(5)
	if s := w.relay.Stats(); s.Suspects != 2 || s.Gate.Waiting != 1 {
		t.Errorf("%d suspects wait for their turn and %d at the gate, want 2 and 1", s.Suspects, s.Gate.Waiting)
	}
	w.revive()
	var order []string
	for len(order) < 3 {
		w.moves(40)
		came := w.again(paths...)
		if len(came) != len(order)+1 {
			t.Fatalf("after %v, %v are with the worker again", order, came)
		}
		for _, path := range came {
			if !slices.Contains(order, path) {
				order = append(order, path)
				w.answered(path)
			}
		}
	}
	if want := []string{"/c", "/b", "/a"}; !slices.Equal(order, want) {
		t.Errorf("they passed in the order %v, want %v", order, want)
	}
	w.finish()
	for i, path := range paths {
		if r := w.only(c[i]); r.body != path {
			t.Errorf("%s got %+v", path, r)
		}
	}
	w.outcomes("complete 3")
}

// TestOnlyTheSuspectEnds is what all of this is for: everybody who had no byte yet survives, at both crashes.
func TestOnlyTheSuspectEnds(t *testing.T) {
	w, c := suspects(t, "/a", "/b", "/poison")
	w.crash()
	w.moves(5)
	w.revive()
	w.moves(30)
	w.answers["/new"] = silence
	newcomer := w.connect(post("/new", "prompt"))
	w.moves(30)
	if w.heard["/new"] != 1 || w.heard["/poison"] != 2 || w.heard["/a"]+w.heard["/b"] != 2 {
		t.Fatalf("the worker got %v", w.heard)
	}
	w.crash()
	w.moves(5)
	for _, path := range []string{"/a", "/b", "/new", "/poison"} {
		w.answered(path)
	}
	w.revive()
	w.finish()
	w.refusedWith(c[2], 502, "request_suspected", "false")
	for i, who := range []*client{c[0], c[1], newcomer} {
		if r := w.only(who); r.status != 200 {
			t.Errorf("%d got %+v", i, r)
		}
	}
	w.outcomes("complete 3, cut 1")
}

func TestATurnIsOver(t *testing.T) {
	for name, end := range map[string]func(w *world, c *client){
		"when its client leaves": func(w *world, c *client) { c.left = true; c.end.Close() },
		"when its answer has begun": func(w *world, c *client) {
			w.answers["/b"] = answer{bytes: chatHead + chunk(token("a")), keep: true}
			w.listenAgain()
		},
		"when its connection broke":            func(w *world, c *client) { w.resetWorkers(); w.passTime(2 * newsTime) },
		"when it has waited as long as it may": func(w *world, c *client) { w.kernel.Refuse(true); w.resetWorkers(); w.passTime(2 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			w, c := suspects(t, "/a", "/b")
			w.crash()
			w.moves(5)
			w.revive()
			w.moves(40)
			if got := fmt.Sprint(w.again("/a", "/b")); got != "[/b]" {
				t.Fatalf("%s are with the worker again", got)
			}
			end(w, c[1])
			w.kernel.Refuse(false)
			w.moves(60)
			if w.heard["/a"] != 2 && !c[0].ended {
				t.Errorf("the next one doesn't pass: %v; %+v", w.heard, w.relay.Stats())
			}
		})
	}
}

func (w *world) listenAgain() {
	for _, x := range w.workers {
		x.begun, x.listened = x.closed, 0
	}
}

func (w *world) resetWorkers() {
	for _, x := range w.workers {
		if !x.closed {
			x.closed = true
			x.end.Reset()
		}
	}
}

func TestATurnOutlivesUs(t *testing.T) {
	w, c := suspects(t, "/a", "/b", "/c")
	w.crash()
	w.moves(5)
	w.start() // while all wait
	w.revive()
	w.moves(40)
	if got := fmt.Sprint(w.again("/a", "/b", "/c")); got != "[/c]" {
		t.Fatalf("%s are with the worker again, want the last one", got)
	}
	w.start() // while one is with the worker
	w.moves(40)
	if got := fmt.Sprint(w.again("/a", "/b", "/c")); got != "[/c]" {
		t.Fatalf("after another death of ours %s are with the worker again", got)
	}
	for _, path := range []string{"/c", "/b", "/a"} {
		w.answered(path)
		w.moves(60)
	}
	w.finish()
	for i, path := range []string{"/a", "/b", "/c"} {
		if r := w.only(c[i]); r.body != path {
			t.Errorf("%s got %+v", path, r)
		}
	}
}

// TestASuspectThatWaitsInTheQueueLeavesIt: the news of the crash comes when it stands at the gate already.
func TestASuspectThatWaitsInTheQueueLeavesIt(t *testing.T) {
	w, c := suspects(t, "/a", "/b")
	w.workerDies()
	w.moves(5)
	w.relay.Gate().Hold(1)
	w.passTime(2 * retryMost) // their pause is over: they wait at the gate
	if n := w.relay.Stats().Gate.Waiting; n != 2 {
		t.Fatalf("%d wait at the gate, want 2", n)
	}
	w.tellCrash()
	w.moves(5)
	if s := w.relay.Stats(); s.Gate.Waiting != 1 || s.Suspects != 1 {
		t.Errorf("%d wait at the gate and %d for their turn, want 1 and 1", s.Gate.Waiting, s.Suspects)
	}
	w.answered("/a")
	w.answered("/b")
	w.revive()
	w.finish()
	w.only(c[0])
	w.only(c[1])
	w.outcomes("complete 2")
}

func TestTurns(t *testing.T) {
	var came []int64
	q := &turns{post: func(t gate.Ticket) { came = append(came, t.Arrived) }}
	ticket := func(arrived int64) gate.Ticket { return gate.Ticket{Arrived: arrived, Slot: int32(arrived)} }
	want := func(what string, arrived ...int64) {
		t.Helper()
		if !slices.Equal(came, arrived) {
			t.Errorf("%s: turns of %v, want %v", what, came, arrived)
		}
	}
	q.restore()
	for _, arrived := range []int64{5, 9, 7, 1} {
		q.join(ticket(arrived))
	}
	want("while one is inside")
	q.over()
	want("the last first", 9)
	if !q.forget(ticket(7)) || q.forget(ticket(9)) || q.forget(ticket(8)) {
		t.Error("one that waits is forgotten, and no other")
	}
	q.over()
	want("the one before it left", 9, 5)
	q.over()
	q.over()
	want("to the first", 9, 5, 1)
	q.join(ticket(3))
	want("alone it goes at once", 9, 5, 1, 3)
}

func TestCondemnedRequestsAreForgottenTheOldestFirst(t *testing.T) {
	a := arena.OnHeap(1)
	for i := range uint64(40) {
		a.Condemn(arena.Sum{i, 1}, 0, int64(100+i))
	}
	if a.IsCondemned(arena.Sum{0, 1}, 50) || !a.IsCondemned(arena.Sum{39, 1}, 50) || a.IsCondemned(arena.Sum{39, 2}, 50) {
		t.Error("the last ones are remembered, and no others")
	}
	if !a.AnyCondemned(138) || a.AnyCondemned(139) || a.IsCondemned(arena.Sum{39, 1}, 139) {
		t.Error("they are forgotten when their time is over")
	}
}
