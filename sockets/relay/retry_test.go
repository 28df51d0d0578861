package relay

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/http1"
)

func TestTheFateOfALostRequest(t *testing.T) {
	sent := loss{given: true, whole: true, copied: true, repeatable: true}
	for _, test := range []struct {
		name string
		loss func(*loss)
		want fate
	}{
		{"sent whole and repeatable", func(*loss) {}, givenAgain},
		{"sent whole, and twice may be once too often", func(s *loss) { s.repeatable = false }, ends},
		{"not sent whole: nobody can have answered it", func(s *loss) { s.whole, s.repeatable = false, false }, givenAgain},
		{"not a byte was sent", func(s *loss) { s.given, s.whole, s.repeatable = false, false, false }, neverGiven},
		{"not a byte, and it was lost before", func(s *loss) { s.given, s.whole, s.lives = false, false, 1 }, neverGiven},
		{"something has come back", func(s *loss) { s.heard = true }, ends},
		{"something has come back before all was sent", func(s *loss) { s.heard, s.whole = true, false }, ends},
		{"no copy", func(s *loss) { s.copied = false }, ends},
		{"no copy, not sent whole", func(s *loss) { s.copied, s.whole = false, false }, ends},
		{"lost for the second time", func(s *loss) { s.lives = 1 }, lostTwice},
		{"lost for the second time, not sent whole", func(s *loss) { s.lives, s.whole = 1, false }, lostTwice},
		{"lost for the second time, and not repeatable", func(s *loss) { s.lives, s.repeatable = 1, false }, ends},
	} {
		s := sent
		test.loss(&s)
		if got := s.fate(); got != test.want {
			t.Errorf("%s: fate %d, want %d", test.name, got, test.want)
		}
	}
}

func TestWhichRequestsAreRepeatable(t *testing.T) {
	p := Replay{Paths: []string{"/chat/completions", "/generate"}}
	for target, want := range map[string]bool{
		"POST /v1/chat/completions": true, "POST /v1/chat/completions?a=/b": true, "POST /generate": true,
		"POST /v1/completions": false, "POST /v1/chat/completions/": false, "POST /x?/generate": false, "POST /": false,
		"GET /anything": true, "HEAD /": true, "PUT /generate": false, "DELETE /generate": false, "BREW /generate": false,
	} {
		name, path, _ := strings.Cut(target, " ")
		var q http1.Request
		if bad := http1.ParseRequest(fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", name, path), &q); bad != nil {
			t.Fatal(bad)
		}
		if got := p.repeatable(q.Method, []byte(path)); got != want {
			t.Errorf("%s: %v, want %v", target, got, want)
		}
	}
}

const chatPath = "/v1/chat/completions"

// silence is a worker that takes a request and says nothing.
var silence = answer{keep: true}

func okAnswer(body string) answer {
	return answer{bytes: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)}
}

func (w *world) retries(want string) {
	w.t.Helper()
	var got []string
	for _, name := range lossNames {
		if n := w.relay.counts().Retries[name]; n > 0 {
			got = append(got, fmt.Sprintf("%s %d", name, n))
		}
	}
	if s := strings.Join(got, ", "); s != want {
		w.t.Errorf("retries: %s; want %s", s, want)
	}
}

// noBlocks checks that no copy is left behind.
func (w *world) noBlocks() {
	w.t.Helper()
	if n := w.arena.BlocksClaimed(); n > 0 {
		w.t.Errorf("%d blocks of copies are left", n)
	}
}

// refused checks for one error answer of ours, and what an SDK is told to do.
func (w *world) refusedWith(c *client, status int, code, shouldRetry string) {
	w.t.Helper()
	r := w.only(c)
	if r.status != status || !strings.Contains(r.body, `"`+code+`"`) || r.header.Get("X-Should-Retry") != shouldRetry {
		w.t.Errorf("got %d, x-should-retry %q, %s; want %d, %q, %s", r.status, r.header.Get("X-Should-Retry"), r.body, status, shouldRetry, code)
	}
}

func TestAnUnansweredRequestGoesToTheNextLife(t *testing.T) {
	for _, overUnix := range []bool{false, true} {
		w := newWorld(t, 3, overUnix)
		w.answers = map[string]answer{chatPath: silence, "/get": silence}
		w.start()
		c, g := w.connect(post(chatPath, openAIRequest)), w.connect("GET /get HTTP/1.1\r\nHost: x\r\n\r\n")
		w.moves(30)
		w.crash()
		w.moves(30)
		if len(c.got)+len(g.got) > 0 {
			t.Fatalf("the clients got %q and %q", c.got, g.got)
		}
		w.answers[chatPath], w.answers["/get"] = okAnswer("again"), okAnswer("too")
		w.revive()
		w.finish()
		if r := w.only(c); r.body != "again" || string(w.seen[chatPath]) != openAIRequest {
			t.Errorf("got %+v; the worker got %q", r, w.seen[chatPath])
		}
		if r := w.only(g); r.body != "too" {
			t.Errorf("got %+v", r)
		}
		w.outcomes("complete 2")
		w.retries("crash 2")
	}
}

func TestARequestThatIsNotRepeatableEnds(t *testing.T) {
	w := begin(t, map[string]answer{"/charge": silence})
	c := w.connect(post("/charge", "1 $"))
	w.moves(30)
	w.crash()
	w.finish()
	w.refusedWith(c, 502, "worker_failed", "")
	w.outcomes("cut 1")
}

func TestARequestThatWasNotSentWholeIsAlwaysGivenAgain(t *testing.T) {
	body := pattern(5000)
	w := begin(t, map[string]answer{"/charge": okAnswer("done")})
	whole := post("/charge", body)
	c := w.connect(whole[:3000])
	w.moves(30)
	if w.slotOf(c).Noted.UpGiven == 0 {
		t.Fatal("the worker got nothing")
	}
	w.crash()
	w.revive()
	c.send = []byte(whole)
	w.finish()
	if r := w.only(c); r.body != "done" || string(w.seen["/charge"]) != body {
		t.Errorf("got %+v; the worker got %d bytes", r, len(w.seen["/charge"]))
	}
	w.retries("crash 1")
}

// TestAnAnswerThatHasBegunIsCut: whatever the client has or hasn't seen of it.
func TestAnAnswerThatHasBegunIsCut(t *testing.T) {
	w := begin(t, map[string]answer{chatPath: {bytes: "HTTP/1.1 200 OK\r\nContent-Le", keep: true}})
	c := w.connect(post(chatPath, openAIRequest))
	w.moves(50)
	w.crash()
	w.finish()
	w.refusedWith(c, 502, "worker_failed", "")
	w.retries("")
}

// TestABrokenConnectionIsTriedOnceMore: the life goes on, so nobody is told anything.
func TestABrokenConnectionIsTriedOnceMore(t *testing.T) {
	w := begin(t, map[string]answer{chatPath: {reset: true}})
	c := w.connect(post(chatPath, openAIRequest))
	w.moves(20)
	w.answers[chatPath] = okAnswer("second")
	w.passTime(retryMost)
	w.finish()
	if r := w.only(c); r.body != "second" {
		t.Errorf("got %+v", r)
	}
	w.retries("connection 1")
	if w.heard[chatPath] != 2 {
		t.Errorf("the worker got it %d times, want 2", w.heard[chatPath])
	}
}

func TestAThirdConnectionIsNotRisked(t *testing.T) {
	w := begin(t, map[string]answer{chatPath: {reset: true}})
	c := w.connect(post(chatPath, openAIRequest))
	for !c.ended && w.steps < 5000 {
		w.passTime(retryMost)
	}
	w.refusedWith(c, 502, "worker_failed", "false")
	if w.heard[chatPath] != 2 {
		t.Errorf("the worker got it %d times, want 2", w.heard[chatPath])
	}
}

func TestABigRequestIsKeptInBlocks(t *testing.T) {
	body := pattern(5*arena.BlockSize + 777)
	var chunked strings.Builder
	chunked.WriteString("POST /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	for rest, n := body, 3000; rest != ""; n = n*7%40_001 + 1 {
		n = min(n, len(rest))
		chunked.WriteString(chunk(rest[:n]))
		rest = rest[n:]
	}
	trailers := "0\r\nX-A: " + pattern(1000) + "\r\nX-B: " + pattern(2000) + "\r\n\r\n"
	for name, request := range map[string]string{"length": post("/up", body), "chunked": chunked.String() + trailers} {
		for _, overUnix := range []bool{false, true} {
			t.Run(fmt.Sprint(name, overUnix), func(t *testing.T) {
				w := newWorld(t, 7, overUnix)
				w.answers = map[string]answer{"/up": okAnswer("got it")}
				w.options = func(o *Options) { o.Replay.Paths = []string{"/up"} }
				w.start()
				c := w.connect(request)
				for lives := range 2 { // first in the middle of it, then whole
					for want := []int64{200_000, int64(len(body))}[lives]; w.slotOf(c).Noted.UpGiven < want; {
						w.answers["/up"] = silence
						w.step()
					}
					if w.arena.BlocksClaimed() < 2 {
						t.Fatalf("%d blocks are claimed", w.arena.BlocksClaimed())
					}
					if lives == 1 {
						break
					}
					w.crash()
					w.moves(10)
					w.revive()
					w.passTime(2 * retryMost)
				}
				w.answers["/up"] = okAnswer("got it")
				for _, x := range w.workers {
					x.begun, x.listened = false, 0
				}
				w.finish()
				if r := w.only(c); r.body != "got it" {
					t.Errorf("got %+v", r)
				}
				if got := string(w.seen["/up"]); got != body {
					t.Errorf("the worker got %d bytes of %d, first difference at %d", len(got), len(body), diff(got, body))
				}
				w.noBlocks()
			})
		}
	}
}

func TestARequestWithoutACopyEnds(t *testing.T) {
	for name, test := range map[string]struct {
		options func(*world)
		why     string
	}{
		"too large": {func(w *world) { w.relay.Replay.PerRequest = arena.BlockSize }, "too_large"},
		"budget spent": {func(w *world) {
			for n := range w.arena.Blocks() - 1 {
				w.arena.Claim(5, int32(n))
			}
		}, "budget"},
	} {
		t.Run(name, func(t *testing.T) {
			body := pattern(3 * arena.BlockSize)
			w := newWorld(t, 3, false)
			w.answers = map[string]answer{chatPath: silence, "/get": okAnswer("fine")}
			w.start()
			test.options(w)
			c := w.connect(post(chatPath, body))
			for len(w.seen[chatPath]) == 0 {
				w.step()
			}
			if string(w.seen[chatPath]) != body {
				t.Error("the worker got another body")
			}
			w.crash()
			w.finish()
			w.refusedWith(c, 502, "worker_failed", "")
			if n := w.relay.counts().Uncopied[test.why]; n != 1 {
				t.Errorf("%v, want one for %s", w.relay.counts().Uncopied, test.why)
			}
		})
	}
}

// TestARestartThatDoesNotWaitTakesUnansweredRequestsAlong: --now, or a sick worker.
func TestARestartThatDoesNotWaitTakesUnansweredRequestsAlong(t *testing.T) {
	w := begin(t, map[string]answer{chatPath: silence, "/charge": silence})
	c, other := w.connect(post(chatPath, openAIRequest)), w.connect(post("/charge", "1 $"))
	w.moves(30)
	w.relay.Gate().Hold(1)
	w.relay.Cut(1, arena.Deadline)
	if w.moves(5); len(w.drained) != 1 {
		t.Errorf("drained %v: the restart waits", w.drained)
	}
	w.answers[chatPath] = okAnswer("again")
	w.revive()
	w.finish()
	if r := w.only(c); r.body != "again" {
		t.Errorf("got %+v", r)
	}
	w.refusedWith(other, 502, "worker_failed", "")
	w.retries("restart 1")
}

func TestASidecarThatLeavesGivesNothingAgain(t *testing.T) {
	w := begin(t, map[string]answer{chatPath: silence})
	c := w.connect(post(chatPath, openAIRequest))
	w.moves(30)
	w.relay.Gate().Leave()
	w.relay.Cut(1, arena.Deadline)
	w.finish()
	w.refusedWith(c, 502, "worker_failed", "")
}

// TestInputThatLiesInPieces: whatever was judged last, the next piece is the next bytes, and no line's end is missing.
func TestInputThatLiesInPieces(t *testing.T) {
	w := begin(t, nil)
	w.connect()
	w.moves(3)
	l := w.relay.lanes[0]
	for _, kept := range []int64{1, arena.BlockSize - 1, arena.BlockSize, arena.BlockSize + 1, 3*arena.BlockSize - 5} {
		const headAt, overlap, behind = 1000, 100, 30_000
		all := []byte(pattern(headAt + int(kept) + behind))
		c := &conn{slot: new(arena.Slot), areas: l.arena.Areas(1), index: 1}
		c.r = arena.Record{Phase: arena.Relay, HeadAt: headAt}
		c.r.Up.InBase = headAt
		c.slot.Noted.UpTaken = int64(len(all))
		for at := int64(0); at < kept; at += overlap { // as the area fills and is emptied
			end := min(at+overlap, kept)
			c.r.Up.InBase = headAt + at
			copy(c.areas.UpIn, all[headAt+at:headAt+end])
			if !l.keep(c, headAt+end) {
				t.Fatal("no room")
			}
		}
		c.r.Up.InBase = headAt + max(0, kept-overlap)
		copy(c.areas.UpIn, all[c.r.Up.InBase:])
		for c.r.Up.Judged = headAt; c.r.Up.Judged < int64(len(all)); c.r.Up.Judged += 997 {
			left := all[c.r.Up.Judged:]
			got := l.unjudgedUp(c)
			if len(got) < min(len(left), joinBelow) || !bytes.Equal(got, left[:len(got)]) {
				t.Fatalf("kept %d, judged %d: a piece of %d bytes, right up to %d", kept, c.r.Up.Judged, len(got), diff(string(got), string(left)))
			}
		}
		l.returnBlocks(c)
	}
}

// slotOf is the slot of a client's connection.
func (w *world) slotOf(c *client) *arena.Slot {
	for i := range w.arena.Slots() {
		if w.arena.Used(i) && w.arena.Committed(i).Client == c.end.Descriptor() {
			return w.arena.Slot(i)
		}
	}
	return new(arena.Slot)
}
