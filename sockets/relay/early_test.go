package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
)

// closed is a world whose gate holds, and where answers are begun early.
func closed(t *testing.T, answers map[string]answer) *world {
	w := newWorld(t, 3, false)
	w.answers, w.open = answers, false
	w.options = func(o *Options) {
		o.Fronts[0].EarlyAfter = 20 * time.Second
		o.Hold = 10 * time.Minute
	}
	w.start()
	return w
}

func (w *world) opens() { w.relay.Open(1, kernel.Address{Unix: "worker"}) }

// begun says whether the client has got the head of an early answer.
func begun(c *client) bool { return strings.HasPrefix(string(c.got), "HTTP/1.1 200 OK\r\n") }

func TestAWaitingEventStreamIsBegunAndGoesOnWithTheWorkersEvents(t *testing.T) {
	events, chunks := chat(5)
	w := closed(t, map[string]answer{chatPath: {bytes: strings.Replace(chatHead, "200 OK\r\n", "200 OK\r\nX-Worker: secret\r\n", 1) + chunks + "0\r\n\r\n"}})
	c := w.connect(post(chatPath, openAIRequest))
	w.passTime(19 * time.Second)
	if len(c.got) > 0 {
		t.Fatalf("got %q before its time", c.got)
	}
	w.passTime(35 * time.Second)
	head, rest, _ := strings.Cut(string(c.got), "\r\n\r\n")
	if !begun(c) || strings.Count(rest, "3\r\n:\n\n\r\n") != 3 {
		t.Fatalf("got %q, want a head and three heartbeats", c.got)
	}
	for _, field := range []string{"Content-Type: text/event-stream", "Cache-Control: no-cache", "X-Accel-Buffering: no", "X-Request-Id: req-"} {
		if !strings.Contains(head, field) {
			t.Errorf("%q is not in %q", field, head)
		}
	}
	w.opens()
	w.finish()
	r := w.only(c)
	if got := strings.ReplaceAll(r.body, ":\n\n", ""); got != events || !r.close {
		t.Errorf("got %q, want the worker's events behind ours", r.body)
	}
	if strings.Contains(string(c.got), "X-Worker") || string(w.seen[chatPath]) != openAIRequest {
		t.Errorf("the worker's head was sent on, or it got another request: %q", w.seen[chatPath])
	}
	w.outcomes("complete 1")
	w.early(1, 0)
}

// early checks the counters.
func (w *world) early(begun, failed int64) {
	w.t.Helper()
	var b, f int64
	for i := range arena.MaxLoops {
		b += w.arena.Counters(i).Early.Load()
		f += w.arena.Counters(i).EarlyFailed.Load()
	}
	if b != begun || f != failed {
		w.t.Errorf("%d early answers and %d of them failed were counted, want %d and %d", b, f, begun, failed)
	}
}

func TestHeartbeatsGoOnUntilTheWorkerSaysSomething(t *testing.T) {
	w := closed(t, map[string]answer{chatPath: {bytes: "", keep: true}})
	c := w.connect(post(chatPath, openAIRequest))
	w.passTime(25 * time.Second)
	w.opens()
	w.passTime(time.Second)
	before := strings.Count(string(c.got), ":\n\n")
	w.passTime(31 * time.Second)
	if n := strings.Count(string(c.got), ":\n\n") - before; n != 3 {
		t.Errorf("%d heartbeats while the worker reads a long prompt, want 3", n)
	}
}

// TestHeartbeatsGoOnThoughWeDiedOnTheWayToASecondLife: the first life had it over a kept connection, whose count was high;
// the count of the second's was noted, and then we died. Of a stream that waits no such count means anything.
func TestHeartbeatsGoOnThoughWeDiedOnTheWayToASecondLife(t *testing.T) {
	w := closed(t, nil)
	c := w.connect(post(chatPath, openAIRequest))
	w.passTime(25 * time.Second)
	if !begun(c) {
		t.Fatalf("got %q, want an early answer", c.got)
	}
	for i := range w.arena.Slots() {
		if w.arena.Used(i) {
			r := *w.arena.Committed(i)
			r.Down.InBase, r.Down.Judged = 5000, 5000
			w.arena.Commit(i, &r)
			w.arena.Note(&w.arena.Slot(i).Noted.DownTaken, 0)
		}
	}
	w.start()
	before := strings.Count(string(c.got), ":\n\n")
	w.passTime(31 * time.Second)
	if n := strings.Count(string(c.got), ":\n\n") - before; n != 3 {
		t.Errorf("%d heartbeats after the death, want 3", n)
	}
}

func TestWhoGetsNoEarlyAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		change  func(*Options)
	}{
		"no stream is asked for":        {request: post(chatPath, `{"stream":false}`)},
		"twice is not beyond doubt":     {request: post(chatPath, `{"stream":true,"stream":true}`)},
		"no JSON":                       {request: post(chatPath, `stream=true`)},
		"another path":                  {request: post("/v1/embeddings", openAIRequest)},
		"GET":                           {request: "GET " + chatPath + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		"HEAD":                          {request: "HEAD " + chatPath + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		"HTTP/1.0":                      {request: strings.Replace(post(chatPath, openAIRequest), "HTTP/1.1", "HTTP/1.0", 1)},
		"chunks":                        {request: "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(openAIRequest) + "0\r\n\r\n"},
		"who expects a 100":             {request: strings.Replace(post(chatPath, openAIRequest), "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1)},
		"a page in a browser":           {request: strings.Replace(post(chatPath, openAIRequest), "\r\n\r\n", "\r\nOrigin: https://a.example\r\n\r\n", 1)},
		"not all of it has come":        {request: strings.TrimSuffix(post(chatPath, openAIRequest), "}")},
		"a front where it is off":       {request: post(chatPath, openAIRequest), change: func(o *Options) { o.Fronts[0].EarlyAfter = 0 }},
		"a body too large for its copy": {request: post(chatPath, `{"stream":true,"a":"`+pattern(300)+`"}`), change: func(o *Options) { o.Replay.PerRequest = 300 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, false)
			w.open = false
			w.options = func(o *Options) {
				o.Fronts[0].EarlyAfter, o.Hold = 20*time.Second, 10*time.Minute
				if test.change != nil {
					test.change(o)
				}
			}
			w.start()
			c := w.connect(test.request)
			w.passTime(45 * time.Second)
			if len(c.got) > 0 {
				t.Errorf("got %q", c.got)
			}
			if s := w.relay.Stats().Gate; s.Waiting != 1 {
				t.Errorf("it doesn't wait any more: %+v", s)
			}
		})
	}
}

// TestALargeBodyIsReadWhileItsStreamWaits: it goes into the copy, and the worker gets every byte of it.
func TestALargeBodyIsReadWhileItsStreamWaits(t *testing.T) {
	events, chunks := chat(2)
	w := closed(t, map[string]answer{chatPath: {bytes: chatHead + chunks + "0\r\n\r\n"}})
	body := `{"messages":"` + pattern(400_000) + `","stream":true}`
	c := w.connect(post(chatPath, body))
	w.moves(300)
	if c.sent == len(c.send) {
		t.Fatal("the body was read before its time: the test shows nothing")
	}
	w.passTime(21 * time.Second)
	w.moves(1000)
	if !begun(c) {
		t.Fatalf("got %q, sent %d of %d", c.got, c.sent, len(c.send))
	}
	w.opens()
	w.finish()
	if got := strings.ReplaceAll(w.only(c).body, ":\n\n", ""); got != events || string(w.seen[chatPath]) != body {
		t.Errorf("got %q; the worker got %d bytes of %d", got, len(w.seen[chatPath]), len(body))
	}
	if n := w.arena.BlocksClaimed(); n != 0 {
		t.Errorf("%d blocks are left", n)
	}
}

func TestWhatIsNoEventStreamBecomesOneErrorEvent(t *testing.T) {
	long := `{"error":{"message":"` + pattern(30_000) + `"}}`
	for name, test := range map[string]struct {
		answer  answer
		says    string
		outcome string
	}{
		"the worker's error": {
			answer{bytes: "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 59\r\n\r\n" + `{"error":{"message":"the prompt is too long","code":"400"}}`},
			"the worker answered with status 400: the prompt is too long", "worker_error 1",
		},
		"in chunks": {
			answer{bytes: "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(`{"mess`) + chunk(`age":"busy"}`) + "0\r\n\r\n"},
			"status 503: busy", "worker_error 1",
		},
		"until its close": {answer{bytes: "HTTP/1.1 500 Oops\r\n\r\n" + `{"detail":"no luck"}`}, "status 500: no luck", "worker_error 1"},
		"without a body":  {answer{bytes: "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"}, "status 401: it gave no reason", "worker_error 1"},
		"an answer in one piece": {
			answer{bytes: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + `{"choices":[] }`}, "status 200: it gave no reason", "worker_error 1",
		},
		"encoded events":         {answer{bytes: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"}, "status 200", "worker_error 1"},
		"a long error":           {answer{bytes: fmt.Sprintf("HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%s", len(long), long)}, "status 400: it gave no reason", "worker_error 1"},
		"an error cut short":     {answer{bytes: "HTTP/1.1 400 No\r\nContent-Length: 100\r\n\r\n{"}, "status 400: it gave no reason", "worker_error 1"},
		"no HTTP":                {answer{bytes: "hello\r\n\r\n"}, "no HTTP", "cut 1"},
		"events that are cut":    {answer{bytes: chatHead + chunk(token("one"))}, "the worker", "cut 1"},
		"a worker that gives up": {answer{bytes: chatHead + chunk(token("one")) + chunk(finished("abort")) + "0\r\n\r\n"}, "gave this answer up", "cut 1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := closed(t, map[string]answer{chatPath: test.answer})
			c := w.connect(post(chatPath, openAIRequest))
			w.passTime(25 * time.Second)
			w.opens()
			w.finish()
			loud(t, c)
			got := string(c.got)
			if strings.Count(got, "data: {\"error\":") != 1 || !strings.Contains(got, test.says) || strings.Count(got, "HTTP/1.1") != 1 {
				t.Errorf("got %q, want one error event that says %q", got, test.says)
			}
			w.outcomes(test.outcome)
		})
	}
}

func TestAnEarlyAnswerWithoutAWorkerInTimeEndsLoudly(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"its time is over":   func(w *world) { w.passTime(10 * time.Minute) },
		"the gate refuses":   func(w *world) { w.relay.Gate().Refuse("given up after 20 crashes") },
		"the sidecar leaves": func(w *world) { w.relay.Gate().Leave() },
	} {
		t.Run(name, func(t *testing.T) {
			w := closed(t, nil)
			c := w.connect(post(chatPath, openAIRequest))
			w.passTime(25 * time.Second)
			end(w)
			w.finish()
			loud(t, c)
			if strings.Count(string(c.got), "worker_unavailable") != 1 {
				t.Errorf("got %q", c.got)
			}
			w.outcomes("refused 1")
			w.early(1, 1)
		})
	}
}

func TestAClientThatLeavesItsEarlyAnswerIsForgotten(t *testing.T) {
	w := closed(t, nil)
	c := w.connect(post(chatPath, openAIRequest))
	w.passTime(25 * time.Second)
	c.end.Close()
	c.left = true
	w.moves(5)
	if s := w.relay.Stats(); s.Gate.Waiting != 0 || s.Connections != 0 {
		t.Errorf("stats %+v", s)
	}
	w.outcomes("client_gone 1")
}

func TestAClientThatTakesNothingOfItsEarlyAnswerIsStalled(t *testing.T) {
	w := closed(t, nil)
	w.options = nil
	c := w.connect(post(chatPath, openAIRequest))
	c.end.Window(10)
	c.asleep = true
	w.passTime(4 * time.Minute)
	w.outcomes("client_stalled 1")
	if s := w.relay.Stats().Gate; s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestALifeThatDiesUnderAnEarlyAnswerIsNotItsEnd: nothing of the worker's was sent, so it has its second life.
func TestALifeThatDiesUnderAnEarlyAnswerIsNotItsEnd(t *testing.T) {
	events, chunks := chat(2)
	w := closed(t, map[string]answer{chatPath: {keep: true}})
	c := w.connect(post(chatPath, openAIRequest))
	w.passTime(25 * time.Second)
	w.opens()
	w.moves(20)
	w.relay.Gate().Hold(1)
	w.workers[0].closed = true
	w.workers[0].end.Close()
	w.relay.LifeGone(1)
	w.answers[chatPath] = answer{bytes: chatHead + chunks + "0\r\n\r\n"}
	w.passTime(12 * time.Second)
	w.relay.Open(2, kernel.Address{Unix: "worker"})
	w.finish()
	if got := strings.ReplaceAll(w.only(c).body, ":\n\n", ""); got != events {
		t.Errorf("got %q", c.got)
	}
	w.early(1, 0)
}

// earlyPlay is a run in which early answers are spliced, refused and cut, while the runner is killed at the given points.
func earlyPlay(t *testing.T, overUnix bool, kills ...int) (points int, err error) {
	events, chunks := chat(4)
	w := newWorld(t, 1, overUnix)
	w.kernel.Most = 900
	w.open = false
	w.options = func(o *Options) {
		o.Fronts[0].EarlyAfter, o.Heartbeat, o.Hold = 20*time.Millisecond, 30*time.Millisecond, time.Minute
		o.Concurrency = 2
	}
	large := `{"a":"` + pattern(90_000) + `","stream":true}`
	w.answers = map[string]answer{
		"/a" + chatPath: {bytes: chatHead + chunks + "0\r\n\r\n"},
		"/b" + chatPath: {bytes: "HTTP/1.1 400 No\r\nContent-Length: 39\r\n\r\n" + `{"error":{"message":"too long a text"}}`},
		"/c" + chatPath: {bytes: chatHead + chunk(token("one"))},
	}
	whole := w.connect(post("/a"+chatPath, large))
	refused := w.connect(post("/b"+chatPath, openAIRequest))
	cut := w.connect(post("/c"+chatPath, openAIRequest))
	w.kernel.Hook = func(string) { w.arena.Crash() }
	w.arena.Crash = func() {
		points++
		if len(kills) > 0 && points == kills[0] {
			kills = kills[1:]
			panic(killed{})
		}
	}
	w.survive(w.start)
	for range 500 { // timers have a grain of 100 steps, and each death costs one
		if w.steps%20 == 0 {
			w.survive(func() {
				for _, l := range w.relay.lanes {
					l.tick()
				}
			})
		}
		w.step()
	}
	w.open = true
	w.survive(w.opens)
	if _, err := w.run(); err != nil {
		return points, err
	}
	for _, c := range w.clients {
		if !begun(c) || strings.Count(string(c.got), "HTTP/1.1") != 1 {
			return points, fmt.Errorf("got %q, want an early answer", tail(c.got))
		}
	}
	all, err := whole.responses()
	if err != nil {
		return points, err
	}
	if got := strings.ReplaceAll(all[0].body, ":\n\n", ""); got != events || string(w.seen["/a"+chatPath]) != large {
		return points, fmt.Errorf("got %q; the worker got %d bytes", got, len(w.seen["/a"+chatPath]))
	}
	for c, says := range map[*client]string{refused: "too long a text", cut: "the worker"} {
		if _, err := c.responses(); err == nil && !c.broken {
			return points, fmt.Errorf("%q looks like a clean end", c.got)
		}
		if strings.Count(string(c.got), `data: {"error":`) != 1 || !strings.Contains(string(c.got), says) {
			return points, fmt.Errorf("got %q, want one error event that says %q", c.got, says)
		}
	}
	if c := w.relay.counts().TakeOver; c.Impossible > 0 || c.Poisoned > 0 {
		return points, fmt.Errorf("%+v", c)
	}
	return points, nil
}

func TestKilledAtEveryPointOfEarlyAnswers(t *testing.T) {
	for _, overUnix := range []bool{false, true} {
		points, err := earlyPlay(t, overUnix)
		if err != nil {
			t.Fatal(err)
		}
		for at := 1; at <= points; at += 3 * everyPoint {
			if _, err := earlyPlay(t, overUnix, at, at+1+at%7); err != nil {
				t.Fatalf("unix %v, killed at point %d of %d: %v", overUnix, at, points, err)
			}
		}
		t.Logf("unix %v: %d points", overUnix, points)
	}
}
