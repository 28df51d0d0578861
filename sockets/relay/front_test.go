package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/kernel/fake"
)

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }

// connectAt is connect, at a front.
func (w *world) connectAt(front int, requests ...string) *client {
	w.front = front
	return w.connect(requests...)
}

// byFront are the connections that each front has.
func (w *world) byFront() []int {
	var all []int
	for _, f := range w.relay.Stats().Fronts[:2] {
		all = append(all, f.Connections)
	}
	return all
}

func TestEachFrontServesAndIsCounted(t *testing.T) {
	w := newWorld(t, 1, false)
	w.open = false
	w.answers = map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}
	w.start()
	for _, front := range []int{fake.Front, fake.UnixFront, fake.UnixFront} {
		w.connectAt(front, get("/x"))
	}
	w.moves(10)
	if got := w.relay.Stats().Fronts[:2]; !slices.Equal(got, []FrontStats{{1, 1}, {2, 2}}) {
		t.Errorf("the fronts have %+v, want 1 and 2 clients that wait", got)
	}
	w.relay.Open(1, kernel.Address{Unix: "worker"})
	w.finish()
	for i, c := range w.clients {
		if answers, err := c.responses(); err != nil || answers[0].body != "ok" {
			t.Errorf("client %d got %+v, %v", i, answers, err)
		}
	}
}

// TestFrontsTakeTurnsWhereSlotsRunOut: a crowd at one front must not keep out who comes by another.
func TestFrontsTakeTurnsWhereSlotsRunOut(t *testing.T) {
	w := newWorld(t, 1, false)
	w.open = false
	w.options = func(o *Options) { o.Lanes = 1 }
	w.start()
	for range 20 {
		w.connectAt(fake.Front, get("/x"))
	}
	for range 20 {
		w.connectAt(fake.UnixFront, get("/x"))
	}
	w.moves(5)
	if got := w.byFront(); !slices.Equal(got, []int{3, 3}) {
		t.Fatalf("of 6 slots the fronts have %v, want 3 each", got)
	}
	came := map[bool]int{}
	for i := range 10 { // one slot at a time becomes free
		before := w.byFront()
		for _, c := range w.clients {
			if c.end.Descriptor() >= 0 {
				c.left = true
				c.end.Close()
				break
			}
		}
		w.moves(101) // until a tick
		after := w.byFront()
		if after[0]+after[1] != 6 {
			t.Fatalf("slot %d that became free stays so: %v, then %v", i, before, after)
		}
	}
	for _, c := range w.clients {
		if c.left || c.end.Descriptor() >= 0 {
			came[slices.Index(w.clients, c) < 20]++
		}
	}
	if came[true] != 8 || came[false] != 8 {
		t.Errorf("of 16 clients %d came in by the first front and %d by the second, want 8 each", came[true], came[false])
	}
}

// TestWhoOneLaneCannotTakeAnotherOneDoes: the kernel has told of a client one lane only, and that one has no slot.
func TestWhoOneLaneCannotTakeAnotherOneDoes(t *testing.T) {
	w := newWorld(t, 1, false)
	w.open = false
	w.start()
	full, other := w.relay.lanes[0], w.relay.lanes[1]
	alone := func(l *lane) {
		events, _ := w.pollers[l.id].Events()
		l.handle(events)
	}
	for range 4 { // one more than it has slots
		c := w.connect()
		c.end.Write([]byte(get("/x")))
		alone(full)
	}
	if got := w.byFront()[0]; got != 3 {
		t.Fatalf("the first lane has %d clients, want 3", got)
	}
	_, woken := w.pollers[other.id].Events()
	other.handle(nil) // not a word of a front
	if got := w.byFront()[0]; got != 4 || !woken {
		t.Errorf("%d clients are in, want 4; the other lane was woken: %v", got, woken)
	}
	if other.handle(nil); !other.accepting {
		t.Error("the other lane doesn't accept any more, and has slots")
	}
}

// TestAFrontThatIsGoneKeepsItsClients: the next runner's settings don't name it.
func TestAFrontThatIsGoneKeepsItsClients(t *testing.T) {
	for _, gone := range []int{fake.Front, fake.UnixFront} {
		t.Run(fake.BoundTo(gone).String(), func(t *testing.T) {
			w, want := busyBy(t, 3, ways{unixFront: gone == fake.UnixFront})
			w.start()
			for len(w.clients[0].got) == 0 {
				w.step()
			}
			w.options = func(o *Options) {
				for i, f := range o.Fronts {
					if f.FD == gone {
						o.Fronts = slices.Clone(o.Fronts)
						o.Fronts[i] = Front{FD: -1, At: fake.BoundTo(gone)}
					}
				}
			}
			w.start()
			late := w.kernel.ClientAt(gone, fake.SomeClient)
			if _, err := w.run(); err != nil {
				t.Fatal(err)
			}
			if err := whole(w, want); err != nil {
				t.Error(err)
			}
			if n := w.relay.counts().TakeOver; n.Impossible != 0 || n.Mended == 0 {
				t.Errorf("%+v, want all mended", n)
			}
			if late.Descriptor() >= 0 {
				t.Error("somebody came in by a front that is gone")
			}
		})
	}
}

// TestACutIsToldWithoutAReset: unix sockets know no RST. With framing the missing end tells; in an event stream an error
// event does, whatever the framing. An HTTP/1.0 client's other answers end as if they were whole (docs/limits.md), unless
// something that it said was left unread.
func TestACutIsToldWithoutAReset(t *testing.T) {
	events, chunks := chat(3)
	for _, test := range []struct {
		name    string
		request string
		more    string // said behind the request
		answer  string
		told    func(c *client) bool
	}{
		{"HTTP/1.1, no length", get("/x"), "", "HTTP/1.0 200 OK\r\n\r\n" + pattern(2000), (*client).unfinished},
		{"HTTP/1.1, chunks", get("/x"), "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(pattern(2000)), (*client).unfinished},
		{
			"HTTP/1.0, length", "GET /x HTTP/1.0\r\nHost: x\r\n\r\n", "", "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + pattern(2000),
			(*client).unfinished,
		},
		{
			"HTTP/1.0, events", "POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nContent-Length: 15\r\n\r\n" + `{"stream":true}`, "", chatHead + chunks,
			func(c *client) bool {
				return strings.HasPrefix(c.body(), events[:100]) && strings.Contains(c.body(), "worker_failed")
			},
		},
		{"HTTP/1.0, no length", "GET /x HTTP/1.0\r\nHost: x\r\n\r\n", "", "HTTP/1.0 200 OK\r\n\r\n" + pattern(2000), func(c *client) bool { return !c.broken }},
		{
			"HTTP/1.0, no length, unread words", "GET /x HTTP/1.0\r\nHost: x\r\n\r\n", "GET /y", "HTTP/1.0 200 OK\r\n\r\n" + pattern(2000),
			func(c *client) bool { return c.broken },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, 2, false)
			w.answers = map[string]answer{
				"/x":                   {bytes: test.answer, keep: true},
				"/v1/chat/completions": {bytes: test.answer, keep: true},
			}
			w.start()
			c := w.connectAt(fake.UnixFront, test.request)
			c.answered = 0
			for range 60 {
				w.step()
			}
			c.end.Write([]byte(test.more))
			w.relay.Cut(1, arena.Crash)
			w.finish()
			if c.answered = 1; !test.told(c) {
				t.Errorf("broken off %v; got %q", c.broken, tail(c.got))
			}
			if n := w.relay.counts().Outcomes["cut"]; n != 1 {
				t.Errorf("%d streams cut, want 1", n)
			}
		})
	}
}

// unfinished: the client sees that its answer has no end.
func (c *client) unfinished() bool {
	_, err := c.responses()
	return err != nil
}

// body is what came behind the head.
func (c *client) body() string {
	_, body, _ := strings.Cut(string(c.got), "\r\n\r\n")
	return body
}

func TestAdoptedClientsKnowTheirFront(t *testing.T) {
	for _, front := range []int{fake.Front, fake.UnixFront} {
		w := newWorld(t, 1, false)
		w.answers = map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}
		w.start()
		c := w.connectAt(front, get("/x"))
		w.kernel.Hook = func(call string) {
			if call == "accepted" {
				w.kernel.Hook = nil
				panic(killed{})
			}
		}
		w.finish()
		want := map[int]string{fake.Front: "[1 0]", fake.UnixFront: "[0 1]"}[front]
		if n := w.relay.counts().TakeOver.Adopted; n != 1 {
			t.Errorf("%v: %d clients were taken in, want 1", fake.BoundTo(front), n)
		}
		if answers, err := c.responses(); err != nil || answers[0].body != "ok" {
			t.Errorf("%v: got %+v, %v", fake.BoundTo(front), answers, err)
		}
		end := w.kernel.ClientAt(front, fake.SomeClient) // one more, that stays
		w.moves(3)
		spoilAll(w.arena)
		w.start()
		if got := fmt.Sprint(w.byFront()); got != want || end.Closed() {
			t.Errorf("%v: the fronts have %s clients, want %s", fake.BoundTo(front), got, want)
		}
	}
}
