package relay

import (
	"strings"
	"testing"
	"time"
)

// says lets the worker write more of the answer to the n-th request.
func (w *world) says(n int, text string) {
	w.workers[n].answer = append(w.workers[n].answer, text...)
	w.moves(10 + len(text)/5) // it writes in small pieces
}

// progressIs compares all but the times.
func (w *world) progressIs(when string, want Progress) {
	w.t.Helper()
	got := w.relay.Progress(1, 30*time.Second)
	if got.Life != 1 || got.Open != want.Open || got.Answering != want.Answering || got.Waiting != want.Waiting || got.Overdue != want.Overdue {
		w.t.Errorf("%s: got %+v, want %+v", when, got, want)
	}
}

// near says whether a time that was measured in steps is what it should be.
func near(got, want time.Duration) bool { return got >= want-time.Second && got <= want+2*time.Second }

const chats = "/v1/chat/completions"

func TestProgressOfAStream(t *testing.T) {
	w := begin(t, map[string]answer{chats: {keep: true}})
	w.progressIs("nobody is there", Progress{})
	w.connect(post(chats, openAIRequest))
	w.moves(100)
	w.progressIs("its request is with the worker", Progress{Open: 1, Waiting: 1})

	w.says(0, chatHead)
	w.passTime(20 * time.Second)
	w.progressIs("it got a head, which is no byte of its answer", Progress{Open: 1, Waiting: 1})
	if p := w.relay.Progress(1, time.Minute); !near(p.LongestWait, 20*time.Second) || p.Heard != 0 {
		t.Errorf("it has waited 20 s and heard nothing; got %+v", p)
	}
	w.says(0, chunk(": keep-alive\n\n"))
	w.passTime(15 * time.Second)
	w.progressIs("a comment is none either, and it has waited for longer than a prompt may take", Progress{Open: 1, Waiting: 1, Overdue: 1})
	if p := w.relay.Progress(1, 30*time.Second); !near(p.Silence, 35*time.Second) {
		t.Errorf("nobody got a byte for 35 s; got %+v", p)
	}

	w.says(0, chunk(token("one")))
	w.progressIs("it got a token", Progress{Open: 1, Answering: 1})
	w.passTime(40 * time.Second)
	w.progressIs("it stays one that answers", Progress{Open: 1, Answering: 1})
	if p := w.relay.Progress(1, time.Minute); !near(p.Silence, 40*time.Second) || !near(time.Duration(w.kernel.Clock-p.Heard), 40*time.Second) {
		t.Errorf("40 s ago it got a byte; got %+v at %d", p, w.kernel.Clock)
	}
	if p := w.relay.Progress(2, time.Minute); p.Open != 0 || p.Heard != 0 {
		t.Errorf("life 2 has no stream; got %+v", p)
	}

	w.says(0, chunk(finished("stop"))+chunk(done)+"0\r\n\r\n")
	w.progressIs("it has ended", Progress{})
	if p := w.relay.Progress(1, time.Minute); !near(time.Duration(w.kernel.Clock-p.Heard), 0) {
		t.Errorf("what an ended stream got counts too; got %+v at %d", p, w.kernel.Clock)
	}
}

// A stream that the worker owes nothing to is in no count but that of the open ones.
func TestProgressLeavesOutWhoWaitsForItsClient(t *testing.T) {
	w := begin(t, map[string]answer{chats: {keep: true}, "/opaque": {keep: true}})
	half := post(chats, openAIRequest)
	c := w.connect(half)
	c.send = []byte(half[:len(half)-5])
	w.moves(200)
	w.progressIs("half of its body is still to come", Progress{Open: 1})
	c.send = []byte(half)
	w.moves(200)
	w.progressIs("now the worker has it", Progress{Open: 1, Waiting: 1})

	slow := w.connect("GET /opaque HTTP/1.1\r\nHost: a\r\n\r\n")
	w.moves(100)
	w.progressIs("two wait", Progress{Open: 2, Waiting: 2})
	slow.slow = true
	w.workers[1].answer = []byte("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + strings.Repeat("x", 9_000_000))
	w.workers[1].script.burst = true
	w.moves(200)
	w.progressIs("its client takes nothing", Progress{Open: 2, Waiting: 1})
}

// After a take-over nobody knows when a byte came last: the wait begins anew, and a stream that had spoken still has.
func TestProgressOverADeath(t *testing.T) {
	w := begin(t, map[string]answer{chats: {keep: true}})
	w.connect(post(chats, openAIRequest))
	w.connect(post(chats, openAIRequest))
	w.moves(200)
	w.says(0, chatHead+chunk(token("one")))
	w.says(1, chatHead)
	w.passTime(40 * time.Second)
	w.progressIs("before", Progress{Open: 2, Answering: 1, Waiting: 1, Overdue: 1})
	w.start()
	w.moves(10)
	w.progressIs("after", Progress{Open: 2, Answering: 1, Waiting: 1})
	if p := w.relay.Progress(1, time.Minute); !near(p.Silence, 0) || p.Heard != 0 {
		t.Errorf("the new runner has heard nothing yet; got %+v", p)
	}
}

func TestComments(t *testing.T) {
	for event, want := range map[string]bool{
		":\n\n": true, ": ping\n\n": true, ": ping\r\n\r\n": true, ": a\n: b\n\n": true,
		"data: x\n\n": false, ": a\ndata: x\n\n": false, ": a\rdata: x\r\r": false, "event: e\n\n": false, "\n": false,
	} {
		if got := isComment([]byte(event)); got != want {
			t.Errorf("%q: a comment %v, want %v", event, got, want)
		}
	}
}
