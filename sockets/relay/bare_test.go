package relay

import (
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
)

// barePath is another chat's.
const barePath = "/bare/v1/chat/completions"

// bareHead is a worker that has read the request, and is at its prompt.
var bareHead = answer{bytes: strings.Replace(chatHead, "200 OK\r\n", "200 OK\r\nX-Worker: first\r\n", 1), keep: true}

// TestABareHeadIsNoAnswer: the stream goes to the next life, and its client sees that one's answer alone.
func TestABareHeadIsNoAnswer(t *testing.T) {
	for name, lost := range map[string]func(*world){
		"its worker crashes":         (*world).crash,
		"its worker closes":          (*world).workerDies,
		"its worker's life is ended": func(w *world) { w.relay.Gate().Hold(w.life); w.relay.Cut(w.life, arena.Deadline) },
	} {
		t.Run(name, func(t *testing.T) {
			w := begin(t, map[string]answer{chatPath: bareHead})
			c := w.connect(post(chatPath, openAIRequest))
			w.moves(60)
			if len(c.got) > 0 || w.slotOf(c).Noted.DownTaken != int64(len(bareHead.bytes)) {
				t.Fatalf("the client got %q, want a head that stays where it is", c.got)
			}
			lost(w)
			w.moves(20)
			if w.workerDies(); !w.dead {
				w.tellCrash()
			}
			events, chunks := chat(3)
			w.answers[chatPath] = answer{bytes: chatHead + chunks + "0\r\n\r\n"}
			w.revive()
			w.passTime(2 * time.Second)
			w.finish()
			if r := w.only(c); r.body != events || r.header.Get("X-Worker") != "" || r.close {
				t.Errorf("got %+v", r)
			}
			if w.outcomes("complete 1"); string(w.seen[chatPath]) != openAIRequest || w.heard[chatPath] != 2 {
				t.Errorf("the worker got %q, %d times", w.seen[chatPath], w.heard[chatPath])
			}
			w.noBlocks()
			w.early(0, 0)
		})
	}
}

// TestABareHeadIsShownInTime: and the stream can still go to another life.
func TestABareHeadIsShownInTime(t *testing.T) {
	w := begin(t, map[string]answer{chatPath: bareHead})
	c := w.connect(post(chatPath, openAIRequest))
	w.passTime(bareTime - time.Second)
	if len(c.got) > 0 {
		t.Fatalf("got %q before its time", c.got)
	}
	w.passTime(2 * time.Second)
	if !begun(c) || !strings.Contains(string(c.got), "X-Worker: first\r\n") || !strings.HasSuffix(string(c.got), "\r\n\r\n") {
		t.Fatalf("got %q, want the worker's head", c.got)
	}
	w.passTime(25 * time.Second)
	w.crash()
	w.passTime(25 * time.Second)
	w.start() // and we die too
	w.passTime(time.Second)
	events, chunks := chat(3)
	w.answers[chatPath] = answer{bytes: chatHead + chunks + "0\r\n\r\n"}
	w.revive()
	w.finish()
	r := w.only(c)
	if beats := strings.Count(r.body, ":\n\n"); strings.ReplaceAll(r.body, ":\n\n", "") != events || beats != 5 {
		t.Errorf("got %q and %d heartbeats, want the second life's events behind 5", r.body, beats)
	}
	w.outcomes("complete 1")
	w.early(1, 0)
}

// TestABareHeadIsShownWhenAHeartbeatWouldBeDue, where those come more often.
func TestABareHeadIsShownWhenAHeartbeatWouldBeDue(t *testing.T) {
	w := newWorld(t, 3, false)
	w.options = func(o *Options) { o.Heartbeat = time.Second }
	w.answers = map[string]answer{chatPath: bareHead}
	w.start()
	c := w.connect(post(chatPath, openAIRequest))
	w.passTime(800 * time.Millisecond)
	if len(c.got) > 0 {
		t.Errorf("got %q before its time", c.got)
	}
	w.passTime(2500 * time.Millisecond)
	if !begun(c) || strings.Count(string(c.got), ":\n\n") == 0 {
		t.Errorf("got %q, want a head and heartbeats", c.got)
	}
}

// TestABareHeadThatStaysIsAnAnswerOfItsWorker: its first event may come at any time.
func TestABareHeadThatStaysIsAnAnswerOfItsWorker(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Second, time.Minute} {
		w := begin(t, map[string]answer{chatPath: bareHead})
		c := w.connect(post(chatPath, openAIRequest))
		w.moves(30)
		w.passTime(wait)
		if wait > 0 {
			w.start() // a death of ours changes nothing
			w.moves(30)
		}
		events, chunks := chat(3)
		worker := w.workers[len(w.workers)-1]
		worker.answer = []byte(chunks + "0\r\n\r\n")
		w.finish()
		if r := w.only(c); strings.ReplaceAll(r.body, ":\n\n", "") != events || r.header.Get("X-Worker") != "first" {
			t.Errorf("after %v: got %+v", wait, r)
		}
		w.outcomes("complete 1")
	}
}

// TestAWorkerThatDiesAtItsSecondBareHead: two lives are all that a stream gets, and its client is told why.
func TestAWorkerThatDiesAtItsSecondBareHead(t *testing.T) {
	for name, test := range map[string]struct {
		wait time.Duration
		want string
	}{"before it is shown": {0, "HTTP/1.1 502 Bad Gateway\r\n"}, "after": {2 * bareTime, "HTTP/1.1 200 OK\r\n"}} {
		t.Run(name, func(t *testing.T) {
			w := begin(t, map[string]answer{chatPath: bareHead})
			c := w.connect(post(chatPath, openAIRequest))
			for range 2 {
				w.moves(60)
				w.passTime(test.wait)
				w.crash()
				w.revive()
			}
			for range 3000 {
				if w.step(); c.ended {
					break
				}
			}
			if got := string(c.got); !c.ended || !strings.HasPrefix(got, test.want) || strings.Count(got, suspectedCode) != 1 || strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("got %q", got)
			}
			w.outcomes("cut 1")
		})
	}
}

func TestWhoseBareHeadIsShownAtOnce(t *testing.T) {
	length := strings.Replace(bareHead.bytes, "Transfer-Encoding: chunked", "Content-Length: 900", 1)
	for name, test := range map[string]struct {
		request string
		head    string
	}{
		"who subscribes by GET":      {request: "GET " + chatPath + " HTTP/1.1\r\nHost: x\r\n\r\n"},
		"a client of HTTP/1.0":       {request: strings.Replace(post(chatPath, openAIRequest), "HTTP/1.1", "HTTP/1.0", 1)},
		"a request for one life":     {request: post("/charge", openAIRequest)},
		"no events":                  {request: post(chatPath, openAIRequest), head: strings.Replace(bareHead.bytes, "text/event-stream", "application/json", 1)},
		"an error":                   {request: post(chatPath, openAIRequest), head: strings.Replace(bareHead.bytes, "200 OK", "400 Bad Request", 1)},
		"events in another encoding": {request: post(chatPath, openAIRequest), head: strings.Replace(bareHead.bytes, "X-Worker: first", "Content-Encoding: br", 1)},
		"a length":                   {request: post(chatPath, openAIRequest), head: length},
		"a request under way":        {request: strings.TrimSuffix(post(chatPath, openAIRequest), "}")},
	} {
		t.Run(name, func(t *testing.T) {
			head := bareHead
			if head.early = true; test.head != "" {
				head.bytes = test.head
			}
			w := begin(t, map[string]answer{chatPath: head, "/charge": head})
			c := w.connect(test.request)
			w.moves(60)
			if !strings.HasPrefix(string(c.got), "HTTP/1.1 ") {
				t.Errorf("got %q, want the worker's head", c.got)
			}
		})
	}
}
