package check

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// plant is what a fake worker does wrong with one piece of an answer's payload, which is given whole.
type plant struct {
	name string
	// payload harms the answer's payload.
	payload func(answer []byte) []byte
	// wire harms the bytes on the wire, head and framing included.
	wire func(answer []byte) []byte
	// hang keeps the connection open after the last byte.
	hang bool
}

// fakeWorker answers as the simulated worker does, in one burst, with what is planted.
type fakeWorker struct {
	t      *testing.T
	listen net.Listener
	plant  plant
	delay  atomic.Int64 // nanoseconds before each answer
	chunk  int          // payload bytes a chunk; 0: one event each
	ended  sync.WaitGroup
}

func startFake(t *testing.T, p plant) *fakeWorker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &fakeWorker{t: t, listen: l, plant: p}
	var conns sync.Map
	w.ended.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(c, true)
			w.ended.Go(func() { defer c.Close(); w.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		w.ended.Wait()
	})
	return w
}

func (w *fakeWorker) address() string { return w.listen.Addr().String() }

func (w *fakeWorker) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if r.Header.Get("Expect") != "" {
			if _, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return
			}
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		time.Sleep(time.Duration(w.delay.Load())) // the worker's own slowness
		answer := w.answer(r, body)
		if w.plant.wire != nil {
			answer = w.plant.wire(answer)
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
		if w.plant.hang {
			io.Copy(io.Discard, in)
			return
		}
		if w.plant.wire != nil || r.Close {
			return
		}
	}
}

// answer is head and body on the wire.
func (w *fakeWorker) answer(r *http.Request, body []byte) []byte {
	id := r.Header.Get("X-Request-Id")
	head := "HTTP/1.1 200 OK\r\nx-request-id: " + id + "\r\n"
	if r.URL.Query().Has("back") {
		return fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", head, len(body), w.planted(body))
	}
	if r.URL.Path == "/sim/echo" {
		sum := sha256.Sum256(body)
		said, err := json.Marshal(uploadAnswer{Length: int64(len(body)), SHA256: hex.EncodeToString(sum[:])})
		if err != nil {
			w.t.Error(err)
		}
		return fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", head, len(said), w.planted(said))
	}
	s := w.understand(r.URL.Path, id, body)
	if s.kind == Plain {
		said := w.planted(s.whole())
		return fmt.Appendf(nil, "%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", head, len(said), said)
	}
	var said []byte
	for k := range s.events() {
		said = s.event(said, k)
	}
	said = w.planted(said)
	out := []byte(head + "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")
	for len(said) > 0 {
		n := strings.Index(string(said), "\n\n") + 2
		if n < 2 || w.chunk > 0 {
			n = min(len(said), max(1, w.chunk))
		}
		out = fmt.Appendf(out, "%x\r\n%s\r\n", n, said[:n])
		said = said[n:]
	}
	return append(out, "0\r\n\r\n"...)
}

func (w *fakeWorker) planted(payload []byte) []byte {
	if w.plant.payload == nil {
		return payload
	}
	return w.plant.payload(payload)
}

// understand makes the script of an answer from what came, not from what the client knows.
func (w *fakeWorker) understand(path, id string, body []byte) *script {
	var asked struct {
		Prompt   string
		Messages []struct {
			Role    string
			Content json.RawMessage
		}
		MaxTokens     int `json:"max_tokens"`
		Stream        bool
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	if err := json.Unmarshal(body, &asked); err != nil {
		w.t.Errorf("the client's request is no JSON: %v", err)
	}
	var p strings.Builder
	p.WriteString(asked.Prompt)
	for _, m := range asked.Messages {
		p.WriteString(m.Role + ":" + contentOf(m.Content) + "\n")
	}
	kind := Stream
	switch {
	case path == "/v1/completions":
		kind = Completion
	case !asked.Stream:
		kind = Plain
	}
	q := ask{id: id, kind: kind, tokens: asked.MaxTokens, usage: asked.StreamOptions.IncludeUsage, prompt: promptOf(p.String()), promptLen: len(p.String())}
	s := newScript(q)
	s.reveal("1790000000", "sim-0123456789abcdef")
	return s
}

func contentOf(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var parts []struct {
		Text     string
		ImageURL struct{ URL string } `json:"image_url"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return ""
	}
	for _, p := range parts {
		text += p.Text + p.ImageURL.URL
	}
	return text
}
