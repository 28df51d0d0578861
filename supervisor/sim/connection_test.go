package sim

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
	"testing"
	"time"
)

// TestDisconnectIsNoticed: wherever a request is, its client's leaving is noticed within a second and noted.
func TestDisconnectIsNoticed(t *testing.T) {
	leaveFIN := func(c net.Conn) { c.Close() }
	leaveRST := func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() }
	leaveHalf := func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }
	for _, v := range []struct {
		name, switches, request, until string
		leave                          func(net.Conn)
		while                          string
		tokens                         int64
	}{
		{"while the prompt is processed", `{"prefill":"1h"}`, chat(5), "\r\n\r\n", leaveFIN, "prompt", 0},
		{"while the prompt is processed, by RST", `{"prefill":"1h"}`, chat(5), "\r\n\r\n", leaveRST, "prompt", 0},
		{"between tokens", `{"tokens_per_second":0.001}`, chat(5), `" home"`, leaveFIN, "tokens", 1},
		{"by closing its own direction", `{"tokens_per_second":0.001}`, chat(5), `" home"`, leaveHalf, "tokens", 1},
		{"after the engine hung", `{"hang":"engine"}`, chat(5), "\r\n\r\n", leaveFIN, "prompt", 0},
		{"after the server hung", `{"hang":"server"}`, chat(5), "", leaveFIN, "hung", 0},
		{"before a plain answer", `{"prefill":"1h"}`, strings.Replace(chat(5), "true}", "null}", 1), "", leaveFIN, "prompt", 0},
		{"while it sends its body", "", strings.TrimSuffix(chat(5), "true}"), "", leaveFIN, "request", 0},
		{"while it sends a slow echo's body", "", strings.Replace(chat(5), "/v1/chat/completions", "/sim/echo?rate=1", 1), "", leaveFIN, "request", 0},
	} {
		t.Run(v.name, func(t *testing.T) {
			w := startWorker(t, v.switches)
			c := w.send(v.request)
			w.eventually("the request", func(s State) bool { return s.Open == 1 })
			readUntil(t, c, v.until)
			left := time.Now()
			v.leave(c)
			state := w.eventually("the client's leaving", func(s State) bool { return s.ClientsLeft == 1 })
			got := state.Departures[0]
			if noticed := time.UnixMicro(got.NoticedUnixMicro).Sub(left); noticed > time.Second || noticed < -time.Millisecond {
				t.Errorf("noticed after %v", noticed)
			}
			if got.While != v.while || got.Tokens != v.tokens || got.RequestID != "r1" || state.Open != 0 || state.Whole != 0 {
				t.Errorf("noted %+v, open %d, whole %d; want while %s, tokens %d", got, state.Open, state.Whole, v.while, v.tokens)
			}
		})
	}
}

// TestNobodyLeft: a client that reads to the end is not counted as gone, and one that idles after it isn't either.
func TestNobodyLeft(t *testing.T) {
	w := startWorker(t, "")
	c := w.send(strings.Replace(chat(5), "Connection: close\r\n", "", 1))
	readUntil(t, c, "0\r\n\r\n")
	c.Close()
	state := w.eventually("the connection's end", func(s State) bool { return s.Connections == 1 }) // the asking one
	if state.ClientsLeft != 0 || state.Whole != 1 || state.Requests != 1 || state.Tokens != 5 {
		t.Errorf("counted %+v", state)
	}
}

// TestIdleConnectionIsClosed: as in uvicorn, after a while.
func TestIdleConnectionIsClosed(t *testing.T) {
	w := startWorker(t, "")
	w.options.KeepAlive = 50 * time.Millisecond
	c := w.send("GET /health HTTP/1.1\r\nHost: sim\r\n\r\n")
	all, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 200 OK\r\n") || strings.Contains(string(all), "connection:") {
		t.Errorf("got %v, %q", err, all)
	}
}

// TestPipelining: requests on one connection are answered one after the other, each whole.
func TestPipelining(t *testing.T) {
	w := startWorker(t, `{"tokens_per_second":200}`)
	keep := strings.Replace(chat(3), "Connection: close\r\n", "", 1)
	raw, err := w.exchange(keep + "GET /health HTTP/1.1\r\nHost: sim\r\n\r\n" + keep + chat(1))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(strings.NewReader(raw))
	for i, want := range []string{" home type type", "", " home type type", " home"} {
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if want == "" {
			if len(body) > 0 {
				t.Errorf("answer %d: %q", i, body)
			}
			continue
		}
		if text, _ := textOf(t, string(body)); text != want {
			t.Errorf("answer %d: text %q, want %q", i, text, want)
		}
	}
}

// TestMalformedRequests are refused, counted, and never reach an endpoint.
func TestMalformedRequests(t *testing.T) {
	w := startWorker(t, "")
	shapes := []string{
		"GET /health HTTP/9.9.9\r\n\r\n",
		"GET  /health\r\n\r\n",
		"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
		"POST /sim/echo HTTP/1.1\r\nHost: sim\r\nContent-Length: +3\r\n\r\nabc",
		"GET /health HTTP/1.1\r\nX-Long: " + strings.Repeat("a", 70<<10) + "\r\n\r\n",
		"POST /sim/echo HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	}
	for i, shape := range shapes {
		// The long head is refused before it is read whole, so its answer may be lost to the reset.
		raw, err := w.exchange(shape)
		if err == nil && !strings.HasPrefix(raw, "HTTP/1.1 400 Bad Request\r\n") {
			t.Errorf("%.60q got %q", shape, raw)
		}
		w.eventually("the count of it", func(s State) bool { return s.Malformed == int64(i+1) })
	}
	if state := w.eventually("the end of all", func(s State) bool { return s.Open == 0 }); state.Requests != 1 { // the last had a good head
		t.Errorf("counted %d requests", state.Requests)
	}
}

// TestEcho: the hash of what came, framed and paced in every way.
func TestEcho(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 4<<10)
	sum := sha256.Sum256([]byte(body))
	want := hex.EncodeToString(sum[:])
	chunked := fmt.Sprintf("POST /sim/echo HTTP/1.1\r\nHost: sim\r\nX-Own: 1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-After\r\n\r\n"+
		"%x\r\n%s\r\n%x\r\n%s\r\n0\r\nX-After: yes\r\n\r\n", 10, body[:10], len(body)-10, body[10:])
	for _, v := range []struct{ name, request, begins string }{
		{"length", request("/sim/echo", body, "X-Own: 1"), "HTTP/1.1 200 OK\r\n"},
		{"slow", request("/sim/echo?rate=1000000&delay=10ms", body, "X-Own: 1"), "HTTP/1.1 200 OK\r\n"},
		{"interim", request("/sim/echo", body, "X-Own: 1", `X-Sim: {"interim":[102]}`), "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n"},
		{"asks first", request("/sim/echo", body, "X-Own: 1", "Expect: 100-continue"), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"},
		{"chunked with a trailer", chunked, "HTTP/1.1 200 OK\r\n"},
	} {
		t.Run(v.name, func(t *testing.T) {
			w := startWorker(t, "")
			raw, err := w.exchange(v.request)
			if err != nil || !strings.HasPrefix(raw, v.begins) {
				t.Fatalf("got %v, %q", err, raw)
			}
			var got Echo
			if err := json.Unmarshal([]byte(raw[strings.Index(raw, "{"):]), &got); err != nil {
				t.Fatal(err)
			}
			if got.SHA256 != want || got.Length != 64<<10 || got.Life != testLife || got.Headers.Get("X-Own") != "1" || got.Host != "sim" {
				t.Errorf("got %+v", got)
			}
			if v.request == chunked && (got.Trailers.Get("X-After") != "yes" || len(got.Framing) != 1) {
				t.Errorf("of the chunked request came trailers %v, framing %v", got.Trailers, got.Framing)
			}
		})
	}
}

// TestEchoBack: the answer comes while the request is still being sent.
func TestEchoBack(t *testing.T) {
	w := startWorker(t, "")
	c := w.send("POST /sim/echo?back=1 HTTP/1.1\r\nHost: sim\r\nContent-Length: 6\r\n\r\n")
	readUntil(t, c, "transfer-encoding: chunked\r\n\r\n")
	for _, part := range []string{"abc", "def"} {
		io.WriteString(c, part)
		readUntil(t, c, "3\r\n"+part+"\r\n")
	}
	sum := sha256.Sum256([]byte("abcdef"))
	readUntil(t, c, "0\r\nx-sim-sha256: "+hex.EncodeToString(sum[:])+"\r\nx-sim-life: "+testLife+"\r\n\r\n")
}

// TestLargePrompt: an image of 4 MiB counts in the prompt like its text.
func TestLargePrompt(t *testing.T) {
	w := startWorker(t, "")
	image := "data:image/png;base64," + strings.Repeat("QUJD", 1<<20)
	body := `{"messages":[{"role":"system","content":null},{"role":"user","content":[{"type":"image_url","image_url":{"url":"` + image +
		`"}},{"type":"text","text":"look"},{"type":"other"}]}],"max_tokens":3,"stream":true}`
	raw, err := w.exchange(request("/v1/chat/completions", body))
	if err != nil {
		t.Fatal(err)
	}
	seed := newSeed().add("system:\nuser:" + image + "look\n")
	want := pieces[seed.piece(0, 0)] + pieces[seed.piece(0, 1)] + pieces[seed.piece(0, 2)]
	_, chunks := cutAtBody(t, raw)
	events, _, _ := unchunk(t, chunks)
	if text, _ := textOf(t, events); text != want {
		t.Errorf("text %q, want %q", text, want)
	}
}

// TestSlowReaderSlowsOnlyItself: one client that reads nothing of a long answer keeps no other from theirs, and gets
// all of it once it reads.
func TestSlowReaderSlowsOnlyItself(t *testing.T) {
	w := startWorker(t, "")
	const tokens = 60_000 // 14 MB, more than the sockets take
	slow := w.dial()
	slow.(*net.TCPConn).SetReadBuffer(256 << 10)
	io.WriteString(slow, chat(tokens))
	readUntil(t, slow, `" home"`)
	before := int64(-1)
	w.eventually("the slow client's answer to be stuck", func(s State) bool {
		stuck := s.Tokens == before
		before = s.Tokens
		time.Sleep(50 * time.Millisecond) // between two looks
		return stuck
	})
	if raw, err := w.exchange(chat(5)); err != nil || !strings.HasSuffix(raw, "0\r\n\r\n") {
		t.Errorf("the other client got %v, %q", err, raw)
	}
	if state := w.stateNow(); state.Open != 1 || state.Tokens >= tokens {
		t.Errorf("open %d, tokens %d: the slow client's answer was to be unfinished", state.Open, state.Tokens)
	}
	rest, err := io.ReadAll(slow)
	if err != nil || strings.Count(string(rest), "data: {") != tokens-1 || !strings.HasSuffix(string(rest), "data: [DONE]\n\n\r\n0\r\n\r\n") {
		t.Errorf("got %v, %d events, end %q", err, strings.Count(string(rest), "data: {"), rest[max(0, len(rest)-60):])
	}
}

// TestHastenedOnce: after a hang is lifted, a stream waits for its next token's time again and is not visited till then.
func TestHastenedOnce(t *testing.T) {
	w := startWorker(t, `{"tokens_per_second":0.001}`)
	c := w.send(chat(5))
	readUntil(t, c, `" home"`)
	w.switches(`{"hang":"engine"}`)
	w.switches(`{"hang":""}`)
	for deadline := time.Now().Add(patience); ; {
		w.pacer.mu.Lock()
		waits := len(w.pacer.queue) == 1 && w.pacer.queue[0].at > w.pacer.now()+time.Minute
		w.pacer.mu.Unlock()
		if waits {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the stream does not wait for its time")
		}
	}
}

// TestLoading: one that listens early says 503 until it is ready.
func TestLoading(t *testing.T) {
	w := startWorker(t, "")
	w.ready.Store(false)
	for _, path := range []string{"/health", "/v1/models"} {
		if status, answer := w.do(http.MethodGet, path, ""); status != http.StatusServiceUnavailable {
			t.Errorf("%s says %d %s while loading", path, status, answer)
		}
	}
	w.ready.Store(true)
	if status, _ := w.do(http.MethodGet, "/health", ""); status != http.StatusOK {
		t.Errorf("/health says %d when ready", status)
	}
}
