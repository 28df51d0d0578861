package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
)

const openAIRequest = `{"stream":true}`

// begin starts a world with the given answers.
func begin(t *testing.T, answers map[string]answer) *world {
	t.Helper()
	w := newWorld(t, 3, false)
	w.answers = answers
	w.start()
	return w
}

// moves runs the world for a number of steps (of 1 ms).
func (w *world) moves(steps int) {
	for range steps {
		w.step()
	}
}

// finish runs the world until its clients are done.
func (w *world) finish() {
	w.t.Helper()
	if _, err := w.run(); err != nil {
		w.t.Fatal(err)
	}
}

// only is the one answer that a client got, which must be whole.
func (w *world) only(c *client) response {
	w.t.Helper()
	all, err := c.responses()
	if err != nil {
		w.t.Fatalf("%v in %q", err, c.got)
	}
	return all[len(all)-1]
}

// passTime moves the clock on and lets the lanes look at their timers.
func (w *world) passTime(d time.Duration) {
	for range int(d / (100 * time.Millisecond)) {
		w.kernel.Clock += int64(100 * time.Millisecond)
		for _, l := range w.relay.lanes {
			l.tick()
		}
		w.step()
	}
}

func (w *world) outcomes(want string) {
	w.t.Helper()
	c := w.relay.counts()
	var got []string
	for _, name := range []string{"complete", "client_gone", "client_stalled", "refused", "worker_error", "cut", "unjudged"} {
		if n := c.Outcomes[name]; n > 0 {
			got = append(got, fmt.Sprintf("%s %d", name, n))
		}
	}
	if s := strings.Join(got, ", "); s != want {
		w.t.Errorf("outcomes: %s; want %s (cuts %v)", s, want, c.Cuts)
	}
}

// loud checks that a client can't take what it got for a whole answer.
func loud(t *testing.T, c *client) {
	t.Helper()
	if !c.ended {
		t.Fatalf("the connection is still open after %q", tail(c.got))
	}
	if _, err := c.responses(); err == nil && !c.broken {
		t.Errorf("a cut looks like a clean end: %q", c.got)
	}
}

func TestCutStreamsEndLoudly(t *testing.T) {
	good := token("one") + token("two")
	whole := chatHead + chunk(good)
	for _, test := range []struct {
		name   string
		answer answer
		cause  arena.Cause
		hidden string // what must not reach the client
	}{
		{"abort", answer{bytes: whole + chunk(finished("abort")) + chunk(done) + "0\r\n\r\n"}, arena.Abort, `"abort"`},
		{"abort behind good events in one chunk", answer{bytes: chatHead + chunk(good+finished("abort")+done) + "0\r\n\r\n"}, arena.Abort, `"abort"`},
		{"error event", answer{bytes: whole + chunk("data: {\"error\":{\"message\":\"engine dead\",\"code\":500}}\n\n") + chunk(done) + "0\r\n\r\n"}, arena.ErrorEvent, `"code":500`},
		{"no end", answer{bytes: whole + "0\r\n\r\n"}, arena.Truncated, ""},
		{"[DONE] before a finish_reason", answer{bytes: whole + chunk(done) + "0\r\n\r\n"}, arena.Truncated, "[DONE]"},
		{"crash between events", answer{bytes: whole}, arena.Crash, ""},
		{"crash in the middle of an event", answer{bytes: whole + "20\r\ndata: {\"id\":\"half"}, arena.Crash, `"half`},
		{"half an event before the last chunk", answer{bytes: whole + chunk(`data: {"id":"half"`) + "0\r\n\r\n"}, arena.Truncated, `"half"`},
		{"reset", answer{bytes: whole, reset: true}, arena.Crash, ""},
		{"bad chunk size", answer{bytes: whole + "xyz\r\n"}, arena.Malformed, "xyz"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := begin(t, map[string]answer{"/v1/chat/completions": test.answer})
			c := w.connect(post("/v1/chat/completions", openAIRequest))
			w.finish()
			loud(t, c)
			got := string(c.got)
			if !strings.Contains(got, "two") || !strings.Contains(got, `"error":{`) {
				t.Errorf("want the good events and then an error event, got %q", got)
			}
			if test.hidden != "" && strings.Contains(got, test.hidden) {
				t.Errorf("%q reached the client: %q", test.hidden, got)
			}
			if n := w.relay.counts().Cuts[test.cause.String()]; n != 1 {
				t.Errorf("cuts %v, want one by %v", w.relay.counts().Cuts, test.cause)
			}
		})
	}
}

func TestCutsWithoutEvents(t *testing.T) {
	for name, test := range map[string]struct {
		bytes, request string
	}{
		"length cut short": {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"},
		"chunks cut short": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("half"), "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"},
		"close-delimited for a client of 1.0": {
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("half"), "GET /x HTTP/1.0\r\nHost: x\r\n\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := begin(t, map[string]answer{"/x": {bytes: test.bytes}})
			c := w.connect(test.request)
			w.finish()
			loud(t, c)
			w.outcomes("cut 1")
		})
	}
}

func TestAWorkerThatDiesBeforeItsAnswerIsSaidByAnError(t *testing.T) {
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: ""}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.finish()
	if r := w.only(c); r.status != 502 || !strings.Contains(r.body, `"error"`) {
		t.Errorf("got %d %q, want a 502 with an error body", r.status, r.body)
	}
	w.outcomes("cut 1")
}

func TestAWorkerThatIsNoHTTPIsA502(t *testing.T) {
	w := begin(t, map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\nContent-Length: 0\n\n"}})
	c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.finish()
	if r := w.only(c); r.status != 502 {
		t.Errorf("got %d, want 502", r.status)
	}
}

func TestSilentStreamsGetHeartbeatsBetweenEventsOnly(t *testing.T) {
	events := token("one")
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(events), keep: true}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.moves(300)
	w.passTime(35 * time.Second)
	if n := strings.Count(string(c.got), "3\r\n:\n\n\r\n"); n != 3 {
		t.Errorf("%d heartbeats in 35 s of silence, want 3: %q", n, c.got)
	}
	half := "data: {\"choices\""
	w.workers[0].answer = []byte("40\r\n" + half)
	w.moves(100)
	w.passTime(25 * time.Second)
	if n := strings.Count(string(c.got), ":\n\n"); n != 3 {
		t.Errorf("%d heartbeats, want none while an event is under way", n)
	}
	if strings.Contains(string(c.got), half) {
		t.Error("half an event was sent")
	}
}

func TestPlainAnswersGetNoHeartbeat(t *testing.T) {
	w := begin(t, map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", keep: true}})
	c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.moves(100)
	w.passTime(40 * time.Second)
	if got := string(c.got); !strings.HasSuffix(got, "\r\n\r\nhalf") {
		t.Errorf("got %q", got)
	}
}

func TestStreamsWaitAtTheGateAndPassInOrder(t *testing.T) {
	w := newWorld(t, 3, false)
	w.answers = map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}
	w.open = false
	w.start()
	var clients []*client
	for range 4 {
		clients = append(clients, w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n"))
		w.moves(20)
	}
	if s := w.relay.Stats(); s.Gate.Waiting != 4 || s.Streams != 4 {
		t.Fatalf("stats %+v, want 4 waiting", s)
	}
	w.relay.Open(1, kernel.Address{Unix: "worker"})
	w.finish()
	for _, c := range clients {
		if r := w.only(c); r.body != "ok" {
			t.Errorf("got %+v", r)
		}
	}
	if s := w.relay.Stats(); s.Counts.HoldEver < 20*time.Millisecond || s.Counts.Waited != 4 {
		t.Errorf("counts %+v", s.Counts)
	}
}

func TestAHeldStreamIsRefusedWhenItsTimeIsOver(t *testing.T) {
	w := newWorld(t, 3, false)
	w.open = false
	w.start()
	c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.moves(20)
	w.passTime(61 * time.Second)
	w.finish()
	r := w.only(c)
	if r.status != 503 || r.header.Get("Retry-After") == "" || r.header.Get("X-Should-Retry") != "true" || r.header.Get("X-Request-Id") == "" {
		t.Errorf("got %d %v", r.status, r.header)
	}
	w.outcomes("refused 1")
}

func TestAHeldClientThatLeavesIsForgottenAtOnce(t *testing.T) {
	w := newWorld(t, 3, false)
	w.open = false
	w.start()
	c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.moves(20)
	c.end.Close()
	c.left = true
	w.moves(5)
	if s := w.relay.Stats(); s.Gate.Waiting != 0 || s.Connections != 0 {
		t.Errorf("stats %+v, want nobody", s)
	}
}

func TestAClientThatLeavesFreesTheWorkerAtOnce(t *testing.T) {
	for _, before := range []string{"", chatHead, chatHead + chunk(token("one"))} {
		w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: before, keep: true}})
		c := w.connect(post("/v1/chat/completions", openAIRequest))
		w.moves(200)
		c.end.Close()
		c.left = true
		w.moves(5)
		if !w.workers[0].closed {
			t.Errorf("after %q: the worker goes on computing", before)
		}
		w.outcomes("client_gone 1")
	}
}

func TestARequestOfWhichNothingWasGivenGoesToTheNextLife(t *testing.T) {
	w := newWorld(t, 3, false)
	w.answers = map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}
	w.kernel.Refuse(true)
	w.start()
	c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.moves(50)
	if len(c.got) > 0 {
		t.Fatalf("got %q while nobody listens", c.got)
	}
	w.relay.Gate().Hold(1)
	w.moves(1000) // its pause is over: it waits
	if s := w.relay.Stats(); s.Gate.Waiting != 1 {
		t.Fatalf("stats %+v, want it waiting", s)
	}
	w.kernel.Refuse(false)
	w.relay.Open(2, kernel.Address{Unix: "worker"})
	w.finish()
	if r := w.only(c); r.body != "ok" {
		t.Errorf("got %+v", r)
	}
}

func TestDrainedComesWhenTheLastStreamHasEnded(t *testing.T) {
	_, chunks := chat(3)
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunks, keep: true}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.moves(30)
	if n := w.relay.Gate().Hold(1); n != 1 {
		t.Fatalf("%d in flight, want 1", n)
	}
	w.moves(500)
	if len(w.drained) > 0 {
		t.Fatal("drained before the end of the answer")
	}
	w.workers[0].answer = []byte("0\r\n\r\n")
	w.finish()
	w.moves(5)
	if len(w.drained) != 1 {
		t.Errorf("drained %v", w.drained)
	}
	w.only(c)
}

func TestCutEndsALifesStreams(t *testing.T) {
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(token("one")), keep: true}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.moves(300)
	w.relay.Cut(1, arena.Deadline)
	w.finish()
	loud(t, c)
	if w.relay.counts().Cuts["deadline"] != 1 {
		t.Errorf("cuts %v", w.relay.counts().Cuts)
	}
}

func TestAnEarlyAnswerReachesAClientThatStillSends(t *testing.T) {
	w := begin(t, map[string]answer{"/up": {bytes: "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!", early: true}})
	c := w.connect(post("/up", pattern(300_000)))
	w.finish()
	if r := w.only(c); r.status != 413 || r.body != "no!" || !r.close {
		t.Errorf("got %+v", r)
	}
	if c.broken {
		t.Error("the client's connection was reset")
	}
}

func TestContinueIsOursToSay(t *testing.T) {
	w := begin(t, map[string]answer{"/up": {bytes: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}})
	c := w.connect("POST /up HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	w.moves(50)
	if got := string(c.got); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("got %q, want a 100", got)
	}
	c.send = append(c.send, "12345"...)
	w.finish()
	if r := w.only(c); r.body != "ok" || strings.Count(string(c.got), "100 Continue") != 1 {
		t.Errorf("got %q", c.got)
	}
	if strings.Contains(string(w.workers[0].got), "Expect") {
		t.Errorf("the worker saw %q", w.workers[0].got)
	}
}

func TestShapesOfAnswers(t *testing.T) {
	w := begin(t, map[string]answer{
		"/hints":    {bytes: "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		"/trailers": {bytes: "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk("abc") + "0\r\nX-Sum: 6\r\n\r\n"},
		"/none":     {bytes: "HTTP/1.1 204 No Content\r\n\r\n"},
		"/sse":      {bytes: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: x\n\n"},
		"/error":    {bytes: "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno"},
	})
	c := w.connect(
		"GET /hints HTTP/1.1\r\nHost: x\r\n\r\n", "GET /trailers HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /hints HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /none HTTP/1.1\r\nHost: x\r\n\r\n", "GET /sse HTTP/1.1\r\nHost: x\r\n\r\n", "GET /error HTTP/1.1\r\nHost: x\r\n\r\n",
	)
	w.finish()
	all, err := c.responses()
	if err != nil {
		t.Fatalf("%v in %q", err, c.got)
	}
	if all[1].trailer.Get("X-Sum") != "6" || all[1].body != "abc" {
		t.Errorf("trailers: %+v", all[1])
	}
	if all[2].body != "" || all[2].header.Get("Content-Length") != "2" {
		t.Errorf("HEAD: %+v", all[2])
	}
	if all[3].status != 204 || all[4].body != "data: x\n\n" || all[4].header.Get("Content-Length") != "" || all[5].status != 500 {
		t.Errorf("204, events, 500: %+v", all[3:])
	}
	if !strings.Contains(string(c.got), "103 Early Hints") {
		t.Error("the 103 got lost")
	}
	w.outcomes("complete 4, worker_error 1, unjudged 1")
}

func TestASlowClientStopsTheWorkerAndNothingGrows(t *testing.T) {
	w := begin(t, map[string]answer{"/big": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + pattern(600_000)}})
	c := w.connect("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	c.slow = true
	w.moves(2000)
	if left := len(w.workers[0].answer); left < 300_000 {
		t.Errorf("the worker has %d bytes left while its client sleeps", left)
	}
	c.slow = false
	w.finish()
	if r := w.only(c); r.body != pattern(600_000) {
		t.Error("another body came")
	}
}

func TestAnEventLongerThanOurRoomPassesUnjudged(t *testing.T) {
	long := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + pattern(200_000) + "\"},\"finish_reason\":null}]}\n\n"
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(token("a")+long+token("b")) + "0\r\n\r\n"}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.finish()
	if r := w.only(c); r.body != token("a")+long+token("b") {
		t.Errorf("another body came: %d bytes", len(r.body))
	}
	w.outcomes("unjudged 1")
}

// TestABigEventBehindOthersIsStillJudged: an event that fits into our room must not lose its judge because others stood
// before it when it came.
func TestABigEventBehindOthersIsStillJudged(t *testing.T) {
	w := newWorld(t, 3, false)
	w.kernel.Window = 256 << 10
	small := strings.Repeat(token("good"), 150)
	big := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + pattern(45_000) + "\"},\"finish_reason\":null}]}\n\n"
	w.answers = map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(small) + chunk(big+finished("abort")+done) + "0\r\n\r\n", burst: true}}
	w.start()
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.finish()
	loud(t, c)
	if n := w.relay.counts().Cuts["abort"]; n != 1 {
		t.Errorf("cuts %v, want one by abort; outcomes %v", w.relay.counts().Cuts, w.relay.counts().Outcomes)
	}
	if !strings.Contains(string(c.got), pattern(45_000)[:1000]) {
		t.Error("the big event got lost")
	}
}

func TestWhenSlotsRunOutTheLongestIdleIsClosed(t *testing.T) {
	w := begin(t, map[string]answer{
		"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}, "/hang": {bytes: chatHead, keep: true},
	})
	for range 5 {
		c := w.connect(post("/hang", "x"))
		c.answered = 0
	}
	idle := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	idle.answered = 0 // stays connected
	w.moves(300)
	if s := w.relay.Stats(); s.Connections != 6 {
		t.Fatalf("%d connections, want all 6 slots taken", s.Connections)
	}
	late := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.moves(300)
	if r := w.only(late); r.body != "ok" {
		t.Errorf("got %+v", r)
	}
	if !idle.ended || w.relay.counts().Shed != 1 {
		t.Errorf("the idle connection is still there (shed %d)", w.relay.counts().Shed)
	}
}

func TestAPoisonousConnectionIsCutAlone(t *testing.T) {
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(token("one")), keep: true}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	other := w.connect(post("/v1/chat/completions", openAIRequest))
	w.moves(300)
	for range poisonous {
		w.arena.Counters(0).Working.Store(1) // at work on slot 0 when it died
		w.start()
	}
	w.moves(50)
	if got := w.relay.counts(); got.TakeOver.Poisoned != 1 || got.Cuts["poison"] != 1 {
		t.Errorf("counts %+v", got)
	}
	if c.ended == other.ended {
		t.Errorf("one of the two connections must be gone and the other not: %v %v", c.ended, other.ended)
	}
}

func TestAClientOf10GetsAnAnswerItUnderstands(t *testing.T) {
	events, chunks := chat(3)
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunks + "0\r\n\r\n"}})
	c := w.connect("POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nContent-Length: 15\r\n\r\n" + openAIRequest)
	w.finish()
	if _, body, _ := strings.Cut(string(c.got), "\r\n\r\n"); body != events || c.broken {
		t.Errorf("got %q (reset: %v)", c.got, c.broken)
	}
}

func TestRequestIDsAreMadeAndReturned(t *testing.T) {
	w := begin(t, map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nX-Request-Id: worker's\r\nContent-Length: 0\r\n\r\n"}})
	given := w.connect("GET /x HTTP/1.1\r\nHost: x\r\nX-Request-ID: mine\r\n\r\n")
	made := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.finish()
	if id := w.only(given).header.Values("X-Request-Id"); len(id) != 1 || id[0] != "mine" {
		t.Errorf("returned %q, want the client's own", id)
	}
	id := w.only(made).header.Get("X-Request-Id")
	if !strings.HasPrefix(id, "req-") || !strings.Contains(string(w.workers[0].got)+string(w.workers[1].got), id) {
		t.Errorf("made %q, which the worker must have seen", id)
	}
}

func TestNothingReachesTheWorkerWhileTheGateRefuses(t *testing.T) {
	w := begin(t, nil)
	w.relay.Gate().Refuse("given up after 20 crashes")
	c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.finish()
	if r := w.only(c); r.status != 503 || !strings.Contains(r.body, "given up after 20 crashes") {
		t.Errorf("got %d %q", r.status, r.body)
	}
}

func TestUpgradesAndTunnelsAreRefused(t *testing.T) {
	w := begin(t, nil)
	c := w.connect("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n")
	u := w.connect("GET /x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	w.finish()
	for _, c := range []*client{c, u} {
		if !strings.HasPrefix(string(c.got), "HTTP/1.1 501 ") {
			t.Errorf("got %q", c.got)
		}
	}
}
