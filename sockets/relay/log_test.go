package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
)

// told has the runner's teller tell, and returns the lines of the log and what was to be kept.
func (w *world) told() (lines []map[string]any, kept []arena.End) {
	w.t.Helper()
	var out bytes.Buffer
	t := w.relay.teller
	t.log = slog.New(slog.NewJSONHandler(&out, nil))
	t.keep = func(ends []arena.End) { kept = append(kept, ends...) }
	ctx, cancel := context.WithCancel(w.t.Context())
	cancel() // it tells what there is, and is done
	t.tell(ctx, w.relay.refusals)
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			w.t.Fatalf("%v in %q", err, line)
		}
		delete(fields, "time")
		lines = append(lines, fields)
	}
	return lines, kept
}

// wantLine looks for the fields in the one line that there is to be.
func wantLine(t *testing.T, lines []map[string]any, want map[string]any) {
	t.Helper()
	if len(lines) != 1 {
		t.Fatalf("%d lines, want one: %v", len(lines), lines)
	}
	for name, v := range want {
		if got := lines[0][name]; got != v {
			t.Errorf("%s is %v, want %v in %v", name, got, v, lines[0])
		}
	}
}

func TestACutStreamIsOneLineOfItsOwn(t *testing.T) {
	w := begin(t, map[string]answer{
		"/before":              {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + pattern(3000)},
		"/v1/chat/completions": {bytes: chatHead + chunk(token("one"))},
	})
	w.connect("GET /before HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/chat/completions?api-key=hunter2 HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nContent-Length: 15\r\n\r\n"+openAIRequest)
	w.finish()
	lines, _ := w.told()
	wantLine(t, lines, map[string]any{
		"level": "ERROR", "msg": "stream cut", "cause": "crash", "request": "mine", "client": "192.0.2.1:1",
		"route": "POST /v1/chat/completions", "life": 1., "status": 200.,
	})
	if n := lines[0]["bytes"].(float64); n < 200 || n > 1000 {
		t.Errorf("%v bytes of this stream, want those of its head and one token, and not the 3,000 of the one before", n)
	}
	if strings.Contains(lines[0]["route"].(string), "hunter2") {
		t.Error("the query is in the log")
	}
	if again, _ := w.told(); len(again) != 0 {
		t.Errorf("told twice: %v", again)
	}
}

func TestWhatADeadRunnerHadNotToldTheNextOneTells(t *testing.T) {
	w := begin(t, map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"}})
	w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.connect("GET /x\r\n\r\n")
	w.finish()
	w.start()
	lines, _ := w.told()
	if len(lines) != 2 || lines[0]["msg"] != "stream cut" || lines[1]["msg"] != "streams refused" {
		t.Errorf("the next runner tells %v, want the stream that was cut and the one refused", lines)
	}
}

func TestARestartsStreamsAreKeptAndOnlyTheCutOnesLogged(t *testing.T) {
	w := newWorld(t, 3, false)
	w.answers = map[string]answer{"/x": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}
	w.open = false
	w.start()
	w.arena.Mark().Restart.Store(7)
	w.connect("GET /x?secret HTTP/1.1\r\nHost: x\r\n\r\n")
	w.moves(500)
	if open := w.relay.Touched(7); len(open) != 1 || open[0].Outcome != arena.Pending || open[0].Waited == 0 {
		t.Errorf("while it waits: %+v", open)
	}
	if open := w.relay.Touched(6); len(open) != 0 {
		t.Errorf("another restart's streams: %+v", open)
	}
	w.arena.Mark().Over.Store(w.kernel.Clock) // before the stream had its turn
	w.relay.Open(1, kernel.Address{Unix: "worker"})
	w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n") // not held
	w.finish()
	lines, kept := w.told()
	if len(lines) != 0 || len(kept) != 1 {
		t.Fatalf("logged %v, kept %v; want nothing and one stream", lines, kept)
	}
	if e := kept[0]; e.Restart != 7 || e.Outcome != arena.Complete || e.Waited < int64(400*time.Millisecond) || e.Waited > int64(600*time.Millisecond) || string(e.Route.Value()) != "GET /x" {
		t.Errorf("kept %+v", e)
	}

	w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.finish()
	if _, kept := w.told(); len(kept) != 0 {
		t.Errorf("a stream after the restart was kept: %+v", kept)
	}
}

func TestACutByARestartNamesIt(t *testing.T) {
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(token("one")), keep: true}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.moves(200)
	w.arena.Mark().Restart.Store(8)
	w.relay.Cut(1, arena.Deadline)
	w.finish()
	loud(t, c)
	lines, _ := w.told()
	wantLine(t, lines, map[string]any{"cause": "deadline", "restart": 8.})
}

func TestAFloodOfRefusalsIsOneLine(t *testing.T) {
	w := begin(t, nil)
	for range 6 {
		w.connect("GET /x HTTP/1.1\r\n\r\n") // no Host
		w.finish()
	}
	w.relay.Gate().Refuse("halted")
	w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.finish()
	lines, _ := w.told()
	wantLine(t, lines, map[string]any{"level": "WARN", "msg": "streams refused", "streams": 7., "codes": "malformed_request 6, worker_unavailable 1"})
	if again, _ := w.told(); len(again) != 0 {
		t.Errorf("told twice: %v", again)
	}
}

// TestEachCodeIsCounted: a refusal of a code that isn't known would be counted as some other.
func TestEachCodeIsCounted(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	refused := regexp.MustCompile(`l\.refuse\(c, [^,]+, ("[a-z_]+"|\w+), `)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range refused.FindAllStringSubmatch(string(text), -1) {
			code := strings.Trim(m[1], `"`)
			if code == "suspectedCode" {
				code = suspectedCode
			}
			found++
			if arena.RefusalOf(code) == arena.OtherRefusal {
				t.Errorf("%s refuses with %s, which has no place in arena.Refusal", file, m[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d refusals were found", found)
	}
}

func TestAnEventTooLongIsToldWithItsStream(t *testing.T) {
	long := "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + pattern(200_000) + "\"},\"finish_reason\":null}]}\n\n"
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunk(long) + "0\r\n\r\n"}})
	w.connect(post("/v1/chat/completions", openAIRequest))
	w.finish()
	lines, _ := w.told()
	wantLine(t, lines, map[string]any{"level": "WARN", "route": "POST /v1/chat/completions"})
}

// A log that can't be written must cost no stream a moment: what finds no room is counted and gone.
func TestALogThatStandsStillLosesRecordsAndNoTime(t *testing.T) {
	w := begin(t, nil)
	var e arena.End
	const many = 100 // with so few slots there is room for 64
	for range many {
		w.relay.teller.put(e)
	}
	lost := w.arena.Ends().Lost()
	_, kept := w.told()
	if lost == 0 || int64(len(kept))+lost != many {
		t.Errorf("%d kept and %d lost of %d", len(kept), lost, many)
	}
}
