package relay

import (
	"fmt"
	"strings"
	"testing"
)

// diff is where two strings part.
func diff(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// killedEverywhere plays a world with the runner killed at each point in turn, and checks how it ends.
func killedEverywhere(t *testing.T, build func() *world, each func(*world), check func(*world) error) {
	t.Helper()
	play := func(kill int) (points int, err error) {
		w := build()
		point := func() {
			if points++; points == kill {
				panic(killed{})
			}
		}
		w.kernel.Hook, w.arena.Crash = func(string) { point() }, point
		w.survive(w.start)
		for range 3000 {
			each(w)
			if done, _ := w.step(); done {
				return points, check(w)
			}
		}
		return points, fmt.Errorf("stuck")
	}
	points, err := play(0)
	if err != nil {
		t.Fatalf("without a death: %v", err)
	}
	wrong := 0
	for at := 1; at <= points; at++ {
		if _, err := play(at); err != nil {
			if wrong++; wrong == 1 {
				t.Errorf("killed at point %d of %d: %v", at, points, err)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d kills went wrong", wrong, points)
	}
}

// Finding 1: httpx, requests and net/http send a head and its body apart.
func TestHostileABodyApartFromItsHead(t *testing.T) {
	body := pattern(3000)
	for _, overUnix := range []bool{false, true} {
		killedEverywhere(t, func() *world {
			w := newWorld(t, 5, overUnix)
			w.answers = map[string]answer{"/up": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}
			w.connect(fmt.Sprintf("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body)))
			return w
		}, func(w *world) {
			if c := w.clients[0]; w.steps == 30 {
				c.send = append(c.send, body...)
			}
		}, func(w *world) error {
			if got := string(w.seen["/up"]); got != body {
				return fmt.Errorf("unix %v: the worker got another body: %d bytes, first difference at %d", overUnix, len(got), diff(got, body))
			}
			return nil
		})
	}
}

// Finding 2: the second head doesn't fit behind the first request's body, and the client waits for ever.
func TestHostileABigHeadBehindABody(t *testing.T) {
	w := begin(t, map[string]answer{
		"/a": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"}, "/b": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"},
	})
	head := "GET /b HTTP/1.1\r\nHost: x\r\nX-Big: "
	c := w.connect(post("/a", pattern(10_000)), head+strings.Repeat("b", 61_000-len(head))+"\r\n\r\n")
	for range 400 {
		c.sent += c.end.Write(c.send[c.sent:]) // as fast as the socket takes it
		hostileTurn(w)
		for end := w.kernel.Worker(); end != nil; end = w.kernel.Worker() {
			w.workers = append(w.workers, &workerConn{end: end})
		}
		for _, x := range w.workers {
			x.act(w)
		}
		b, ended, _ := c.end.Read(1 << 16)
		c.got, c.ended = append(c.got, b...), ended
	}
	all, err := c.responses()
	if err != nil || all[1].status != 200 {
		t.Errorf("%v; answers %+v; connections still held: %d", err, all, w.relay.Stats().Connections)
	}
}

// Finding 3a: the client closes between the event and the read.
func TestHostileAClientGoneWithinAPass(t *testing.T) {
	w := begin(t, map[string]answer{"/up": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}})
	head := "POST /up HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\nX-Pad: "
	head += strings.Repeat("p", headRead-len(head)-4) + "\r\n\r\n"
	c := w.connect(head)
	c.sent = c.end.Write(c.send)
	w.kernel.Hook = func(call string) {
		if call == "given" && !c.left {
			c.left = true
			c.end.Close()
		}
	}
	w.moves(200)
	w.outcomes("client_gone 1")
}

// Finding 3b: it leaves while there is no runner, with an upload half done and an answer half sent.
func TestHostileAClientGoneBetweenTwoRunners(t *testing.T) {
	for at := 1; at < 400 && !t.Failed(); at++ {
		leavesAt(t, at)
	}
}

func leavesAt(t *testing.T, at int) {
	w := newWorld(t, 3, false)
	w.answers = map[string]answer{"/up": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + pattern(3000), early: true, keep: true}}
	c := w.connect(post("/up", pattern(9000))[:200])
	w.kernel.Most = 300
	points := 0
	point := func() {
		if points++; points == at {
			panic(killed{})
		}
	}
	w.kernel.Hook, w.arena.Crash = func(string) { point() }, point
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("killed at %d: %v", at, r)
		}
	}()
	for range 300 {
		if !w.lives(func() { hostileTurn(w) }) {
			c.left = true
			c.end.Close()
			w.start()
		}
		c.act(w)
		for end := w.kernel.Worker(); end != nil; end = w.kernel.Worker() {
			w.workers = append(w.workers, &workerConn{end: end})
		}
		for _, x := range w.workers {
			x.act(w)
		}
	}
}

func hostileTurn(w *world) {
	if w.relay == nil {
		w.start()
	}
	for i, l := range w.relay.lanes {
		if events, some := w.pollers[i].Events(); some {
			l.handle(events)
		}
	}
}

// Finding 3c: the worker's death is told while its client is gone too.
func TestHostileLifeGoneAndClientGone(t *testing.T) {
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(token("one")), keep: true}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.connect(post("/v1/chat/completions", openAIRequest))
	w.moves(300)
	for _, x := range w.workers {
		x.end.Write([]byte(chunk(token("two")))) // arrived, not read yet
	}
	c.left = true
	c.end.Reset() // so did this
	w.relay.LifeGone(1)
	w.moves(50)
	w.outcomes("client_gone 1, cut 1")
}

// Finding 5: a cut writes over what the record in force still holds.
func TestHostileACutKilledBeforeItsCommit(t *testing.T) {
	good, half := token("one")+token("two"), finished("abort")
	killedEverywhere(t, func() *world {
		w := newWorld(t, 5, false)
		w.kernel.Most = 40
		w.answers = map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(good) + chunk(half[:30]) + chunk(half[30:]) + chunk(done) + "0\r\n\r\n"}}
		w.connect(post("/v1/chat/completions", openAIRequest))
		return w
	}, func(*world) {}, func(w *world) error {
		all, _ := w.clients[0].responses()
		if len(all) == 0 || !strings.HasPrefix(all[0].body, good+`data: {"error":{`) || !strings.HasSuffix(all[0].body, "\n\n") {
			return fmt.Errorf("got %q", tail(w.clients[0].got))
		}
		return nil
	})
}
