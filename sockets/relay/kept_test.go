package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// keeping starts a world whose lane keeps connections to the worker.
func keeping(t *testing.T, overUnix bool, answers map[string]answer) *world {
	t.Helper()
	w := newWorld(t, 3, overUnix)
	w.answers = answers
	w.options = func(o *Options) { o.WorkerIdle, o.Lanes = 2*time.Second, 1 }
	w.start()
	return w
}

// onward is an answer after which the worker goes on with the next request.
func onward(body string) answer {
	a := okAnswer(body)
	a.goes = true
	return a
}

// ask sends one request over a connection of its own and returns its answer.
func (w *world) ask(request string) response {
	w.t.Helper()
	c := w.connect(request)
	w.finish()
	w.moves(3)
	return w.only(c)
}

func TestAWorkersConnectionIsUsedAgain(t *testing.T) {
	_, chunks := chat(3)
	for _, overUnix := range []bool{false, true} {
		w := keeping(t, overUnix, map[string]answer{
			"/get": onward("got"), chatPath: {bytes: chatHead + chunks + "0\r\n\r\n", goes: true},
			"/none": {bytes: "HTTP/1.1 204 No Content\r\n\r\n", goes: true},
		})
		c := w.connect(get("/get"), post(chatPath, openAIRequest), get("/none"), get("/get"))
		w.finish()
		if _, err := c.responses(); err != nil {
			t.Error(err)
		}
		if r := w.ask(get("/get")); r.body != "got" { // another client's
			t.Errorf("got %+v", r)
		}
		if len(w.workers) != 1 || w.workers[0].served != 5 {
			t.Errorf("%d connections, the first with %d requests; want one with all 5", len(w.workers), w.workers[0].served)
		}
		if strings.Contains(string(w.workers[0].got), "Connection:") {
			t.Errorf("the worker is told %q", w.workers[0].got)
		}
		if n := w.relay.counts(); n.Opened != 1 || n.Reused != 4 || w.relay.Stats().Kept != 1 {
			t.Errorf("%d opened, %d used again, %d kept", n.Opened, n.Reused, w.relay.Stats().Kept)
		}
	}
}

func TestAKeptConnectionIsClosedInTime(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"when its time is over":         func(w *world) { w.passTime(3 * time.Second) },
		"when the gate holds":           func(w *world) { w.relay.Gate().Hold(1); w.passTime(200 * time.Millisecond) },
		"when the life dies":            func(w *world) { w.relay.LifeGone(1) },
		"when the next life serves":     func(w *world) { w.revive(); w.passTime(200 * time.Millisecond) },
		"when the worker closes it":     func(w *world) { w.workers[0].end.Close(); w.moves(3) },
		"when the worker breaks it off": func(w *world) { w.workers[0].end.Reset(); w.moves(3) },
		"when the worker goes on talking": func(w *world) {
			w.workers[0].end.Write([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n"))
			w.moves(3)
		},
		"when a runner takes over": func(w *world) { w.start() },
	} {
		t.Run(name, func(t *testing.T) {
			w := keeping(t, false, map[string]answer{"/get": onward("got")})
			w.ask(get("/get"))
			if n := w.relay.Stats().Kept; n != 1 {
				t.Fatalf("%d are kept, want 1", n)
			}
			end(w)
			if n := w.relay.Stats().Kept; n != 0 || !w.workers[0].end.Closed() {
				t.Errorf("%d are kept; closed %v", n, w.workers[0].end.Closed())
			}
			w.relay.Open(w.life, w.at())
			if r := w.ask(get("/get")); r.body != "got" {
				t.Errorf("the next request got %+v", r)
			}
			w.retries("")
		})
	}
}

func TestOnlyASoundConnectionIsKept(t *testing.T) {
	for name, a := range map[string]answer{
		"the worker says close":     {bytes: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\ngot", keep: true},
		"a worker of HTTP/1.0":      {bytes: "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\ngot", keep: true},
		"no end but the close":      {bytes: "HTTP/1.1 200 OK\r\n\r\ngot"},
		"bytes behind the answer":   {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ngot more", keep: true, burst: true},
		"an answer before its time": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ngot", keep: true, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := keeping(t, false, map[string]answer{"/up": a})
			request := post("/up", pattern(1000))
			if a.early {
				request = request[:200]
			}
			c := w.connect(request)
			w.passTime(time.Second)
			if !strings.HasSuffix(string(c.got), "got") && !strings.HasSuffix(string(c.got), "got\r\n0\r\n\r\n") {
				t.Errorf("got %q", c.got)
			}
			if n := w.relay.Stats().Kept; n != 0 {
				t.Errorf("%d are kept", n)
			}
		})
	}
}

// TestAKeptConnectionThatFailsCostsNothing: the worker closes it just as the next request comes.
func TestAKeptConnectionThatFailsCostsNothing(t *testing.T) {
	for _, overUnix := range []bool{false, true} {
		for name, big := range map[string]int{"a small request": 10, "a large one": 150_000} {
			t.Run(fmt.Sprint(name, overUnix), func(t *testing.T) {
				w := keeping(t, overUnix, map[string]answer{chatPath: onward("got")})
				w.ask(post(chatPath, "first"))
				w.answers[chatPath] = silence
				c := w.connect(post(chatPath, pattern(big)))
				for len(w.workers[0].got) == 0 {
					w.step()
				}
				w.workers[0].closed = true
				w.workers[0].end.Close()
				w.answers[chatPath] = onward("got")
				w.finish()
				if r := w.only(c); r.body != "got" || len(w.seen[chatPath]) != big {
					t.Errorf("got %+v; the worker got %d bytes", r, len(w.seen[chatPath]))
				}
				w.retries("kept_connection 1")
				if n := w.relay.counts(); n.Opened != 2 || n.Reused != 1 {
					t.Errorf("%d opened, %d used again", n.Opened, n.Reused)
				}
				w.noBlocks()
			})
		}
	}
}

func TestWhatIsNotRepeatableGetsAConnectionOfItsOwn(t *testing.T) {
	w := keeping(t, false, map[string]answer{"/get": onward("got"), "/charge": onward("charged")})
	w.ask(get("/get"))
	w.ask(post("/charge", "1 $"))
	if n := w.relay.counts(); n.Opened != 2 || n.Reused != 0 {
		t.Errorf("%d opened, %d used again", n.Opened, n.Reused)
	}
}

func TestExpectationsAreAnsweredOverAKeptConnection(t *testing.T) {
	w := keeping(t, false, map[string]answer{chatPath: onward("got")})
	w.ask(post(chatPath, "first"))
	c := w.connect("POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	w.moves(20)
	if got := string(c.got); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("got %q, want a 100", got)
	}
	c.send = append(c.send, "12345"...)
	w.finish()
	if r := w.only(c); r.body != "got" || string(w.seen[chatPath]) != "12345" {
		t.Errorf("got %+v; the worker got %q", r, w.seen[chatPath])
	}
}

func TestNoConnectionIsKeptWhereNoneIsToBe(t *testing.T) {
	w := begin(t, map[string]answer{"/get": onward("got")})
	w.ask(get("/get"))
	w.ask(get("/get"))
	if n := w.relay.counts(); n.Opened != 2 || n.Reused != 0 {
		t.Errorf("%d opened, %d used again", n.Opened, n.Reused)
	}
	for _, c := range w.workers {
		if !c.end.Closed() {
			t.Error("a connection is open")
		}
	}
}

// TestAKeptConnectionThatFailsWhileTheGateHolds: its stream waits as long as others do, though it never had to before.
func TestAKeptConnectionThatFailsWhileTheGateHolds(t *testing.T) {
	for name, test := range map[string]struct {
		said answer
		wait time.Duration
	}{"in silence": {silence, 0}, "with a bare head": {bareHead, 0}, "with a bare head that is shown": {bareHead, 2 * bareTime}} {
		t.Run(name, func(t *testing.T) {
			events, chunks := chat(3)
			w := keeping(t, false, map[string]answer{chatPath: onward("first")})
			w.ask(post(chatPath, "first"))
			w.answers[chatPath] = test.said
			c := w.connect(post(chatPath, openAIRequest))
			for w.heard[chatPath] < 2 {
				w.step()
			}
			w.moves(30)
			w.passTime(test.wait)
			w.relay.Gate().Hold(w.life)
			w.workerDies()
			w.moves(10)
			w.tellCrash()
			w.passTime(45 * time.Second)
			w.answers[chatPath] = answer{bytes: chatHead + chunks + "0\r\n\r\n"}
			w.revive()
			w.finish()
			if r := w.only(c); strings.ReplaceAll(r.body, ":\n\n", "") != events {
				t.Errorf("got %+v", r)
			}
			w.outcomes("complete 2")
		})
	}
}

// TestASuspectOverAKeptConnection: the connection broke before anybody knew of the life's death. That is no life that counts,
// but it is a crash; at the second one the request ends.
func TestASuspectOverAKeptConnection(t *testing.T) {
	w := keeping(t, false, map[string]answer{chatPath: onward("first")})
	w.ask(post(chatPath, "first"))
	w.answers[chatPath] = silence
	c := w.connect(post(chatPath, openAIRequest))
	for w.heard[chatPath] < 2 {
		w.step()
	}
	w.workerDies()
	w.moves(10)
	w.tellCrash()
	w.moves(10)
	w.revive()
	w.passTime(2 * time.Second)
	if w.heard[chatPath] != 3 {
		t.Fatalf("the second life has it: %d", w.heard[chatPath])
	}
	w.tellCrash()
	w.workerDies()
	w.moves(10)
	w.revive()
	w.finish()
	w.refusedWith(c, 502, suspectedCode, "false")
	if w.heard[chatPath] != 3 {
		t.Errorf("a third life got it")
	}
}

// TestKilledAtEveryPointWithKeptConnections is the busy world over connections that are kept.
func TestKilledAtEveryPointWithKeptConnections(t *testing.T) {
	build := func(overUnix bool) (*world, []string) {
		w, want := busy(t, 1, overUnix)
		w.options = func(o *Options) { o.WorkerIdle = 2 * time.Second }
		for path, a := range w.answers {
			if path != "/close" {
				a.goes, a.keep = true, false
				w.answers[path] = a
			}
		}
		for range 2 {
			w.connect(get("/plain"), get("/plain"))
			want = append(want, pattern(3000)+pattern(3000))
		}
		return w, want
	}
	for _, overUnix := range []bool{false, true} {
		w, want := build(overUnix)
		points, _, err := playIn(w, want)
		if err != nil {
			t.Fatal(err)
		}
		if w.relay.counts().Reused < 3 {
			t.Errorf("connections were used again %d times only", w.relay.counts().Reused)
		}
		for at := 1; at <= points; at += 7 * everyPoint { // a prime, so that in time it comes to each kind of point
			w, want := build(overUnix)
			_, deaths, err := playIn(w, want, at, at+1+at%7)
			if err != nil || deaths == 0 {
				t.Fatalf("unix %v, killed at point %d of %d (%d deaths): %v\n%+v", overUnix, at, points, deaths, err, w.relay.counts())
			}
			if c := w.relay.counts().TakeOver; c.Impossible > 0 || c.Poisoned > 0 {
				t.Fatalf("unix %v, killed at point %d: %+v", overUnix, at, c)
			}
		}
		t.Logf("unix %v: %d points, connections used again %d times", overUnix, points, w.relay.counts().Reused)
	}
}
