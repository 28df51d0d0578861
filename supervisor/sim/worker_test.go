package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	testLife = "sim-0123456789abcdef"
	testDate = "Mon, 23 Nov 2026 12:00:00 GMT"
)

// patience is how long a test waits for what must happen before it fails.
const patience = 20 * time.Second

// worker is a simulated worker in the test's own process, with a known nonce and a stopped calendar.
type worker struct {
	*server
	t       *testing.T
	crashed chan crashNote // crashes that did not happen, because they would end the test
}

type crashNote struct {
	exit   int
	tokens int64 // sent by then
}

// startWorker starts one that is fast, changed by the given switches (JSON), and stops it at the test's end.
func startWorker(t *testing.T, switches string) *worker {
	t.Helper()
	o := DefaultOptions()
	o.Output = io.Discard
	o.Model = "m"
	o.Faults.TokensPerSecond = 0
	if switches != "" {
		var err error
		if o.Faults, err = o.Faults.with([]byte(switches)); err != nil {
			t.Fatal(err)
		}
	}
	s := newServer(o)
	w := &worker{server: s, t: t, crashed: make(chan crashNote, 1)}
	s.life = testLife
	s.wall = func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
	s.crash = func(exit int) {
		s.crashAt.Store(0)
		w.crashed <- crashNote{exit, s.tokens.Load()}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.serve(listener, make(chan error, 1))
	s.ready.Store(true)
	t.Cleanup(s.stop)
	return w
}

func (w *worker) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.address().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// send opens a connection and writes text to it.
func (w *worker) send(text string) net.Conn {
	w.t.Helper()
	c := w.dial()
	if _, err := io.WriteString(c, text); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// exchange writes text on a new connection and gives all that comes until the connection ends, and how it ended.
func (w *worker) exchange(text string) (string, error) {
	w.t.Helper()
	all, err := io.ReadAll(w.send(text))
	return string(all), err
}

// request is a POST as a client writes it, with Connection: close and further fields.
func request(path, body string, fields ...string) string {
	var head strings.Builder
	head.WriteString("POST " + path + " HTTP/1.1\r\nHost: sim\r\nX-Request-Id: r1\r\n")
	for _, field := range fields {
		head.WriteString(field + "\r\n")
	}
	return fmt.Sprintf("%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", head.String(), len(body), body)
}

// chat is a request for a stream of so many tokens to the prompt "user:Hi\n".
func chat(tokens int, fields ...string) string {
	return request("/v1/chat/completions",
		fmt.Sprintf(`{"messages":[{"role":"user","content":"Hi"}],"max_tokens":%d,"stream":true}`, tokens), fields...)
}

// switches changes the worker's switches over HTTP, as a test of the sidecar does.
func (w *worker) switches(patch string) Faults {
	w.t.Helper()
	var now Faults
	w.getJSON(http.MethodPost, "/sim/faults", patch, &now)
	return now
}

func (w *worker) stateNow() State {
	w.t.Helper()
	var now State
	w.getJSON(http.MethodGet, "/sim/state", "", &now)
	return now
}

func (w *worker) getJSON(method, path, body string, into any) {
	w.t.Helper()
	status, answer := w.do(method, path, body)
	if status != http.StatusOK {
		w.t.Fatalf("%s %s: status %d: %s", method, path, status, answer)
	}
	if err := json.Unmarshal([]byte(answer), into); err != nil {
		w.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
	}
}

func (w *worker) do(method, path, body string) (status int, answer string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+w.address().String()+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Close = true
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer got.Body.Close()
	all, err := io.ReadAll(got.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return got.StatusCode, string(all)
}

// eventually asks for the state until it is as it should be.
func (w *worker) eventually(what string, holds func(State) bool) State {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		now := w.stateNow()
		if holds(now) {
			return now
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited for %s; the state is %+v", what, now)
		}
	}
}

// readUntil reads from c, and not a byte further, until the bytes end with suffix.
func readUntil(t *testing.T, c io.Reader, suffix string) string {
	t.Helper()
	var all []byte
	for one := make([]byte, 1); !bytes.HasSuffix(all, []byte(suffix)); all = append(all, one[0]) {
		if _, err := io.ReadFull(c, one); err != nil {
			t.Fatalf("waited for %q: %v after %q", suffix, err, all)
		}
	}
	return string(all)
}

// cutAtBody splits a raw answer into head and body.
func cutAtBody(t *testing.T, raw string) (head, body string) {
	t.Helper()
	head, body, ok := strings.Cut(raw, "\r\n\r\n")
	if !ok {
		t.Fatalf("no head in %q", raw)
	}
	return head, body
}

// unchunk decodes a chunked body strictly and says whether it ended well. tail is what came after the last whole chunk.
func unchunk(t *testing.T, body string) (data string, whole bool, tail string) {
	t.Helper()
	for {
		line, rest, ok := strings.Cut(body, "\r\n")
		var n int
		if !ok {
			return data, false, body
		}
		if _, err := fmt.Sscanf(line, "%x", &n); err != nil {
			t.Fatalf("chunk line %q: %v", line, err)
		}
		if n == 0 {
			return data, strings.HasSuffix(rest, "\r\n"), rest
		}
		if len(rest) < n+2 {
			return data, false, body
		}
		data += rest[:n]
		if rest[n:n+2] != "\r\n" {
			t.Fatalf("chunk of %d bytes is not followed by CRLF: %q", n, rest[:n+2])
		}
		body = rest[n+2:]
	}
}

// textOf joins the text of choice 0 in the events of a stream, and gives its finish reason.
func textOf(t *testing.T, events string) (text, finish string) {
	t.Helper()
	for event := range strings.SplitSeq(strings.TrimSuffix(events, "\n\n"), "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		if !ok {
			t.Fatalf("event %q has no data", event)
		}
		if data == "[DONE]" {
			continue
		}
		var chunk struct {
			Choices []struct {
				Index        int
				Delta        struct{ Content string }
				Text         string
				FinishReason *string `json:"finish_reason"`
			}
			Life string `json:"system_fingerprint"`
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			t.Fatalf("event %q: %v", event, err)
		}
		if chunk.Life != testLife {
			t.Errorf("event %q is not of life %s", event, testLife)
		}
		for _, choice := range chunk.Choices {
			if choice.Index > 0 {
				continue
			}
			text += choice.Delta.Content + choice.Text
			if choice.FinishReason != nil {
				finish = *choice.FinishReason
			}
		}
	}
	return text, finish
}
