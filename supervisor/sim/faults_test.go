package sim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The answers here are streams of five tokens to "user:Hi\n", of which the last but one is struck: " home", " type",
// " type", " 自动auto", " 点击click".
const fiveTokens = " home type type 自动auto 点击click"

// TestStreamFaults: what each fault makes of a stream, as a client sees it on its socket.
func TestStreamFaults(t *testing.T) {
	for _, v := range []struct {
		fault  Fault
		text   string
		finish string
		done   bool  // [DONE] came
		whole  bool  // the chunked body ended
		err    error // how the connection ended, but for EOF
	}{
		{FaultNone, fiveTokens, "length", true, true, nil},
		{FaultDrop, " home type type 自动uto 点击click", "length", true, true, nil},
		{FaultDouble, " home type type 自动aauto 点击click", "length", true, true, nil},
		{FaultSwap, " home type type 自动uato 点击click", "length", true, true, nil},
		{FaultMidChunk, " home type type", "", false, false, nil},
		{FaultReset, " home type type", "", false, false, unix.ECONNRESET},
		{FaultFIN, " home type type", "", false, false, nil},
		{FaultEarlyEnd, " home type type", "", false, true, nil},
		{FaultNoDone, fiveTokens, "length", false, true, nil},
		{FaultAbort, " home type type", "abort", true, true, nil},
		{FaultErrorEvent, " home type type", "", true, true, nil},
	} {
		t.Run(string("fault "+v.fault), func(t *testing.T) {
			w := startWorker(t, fmt.Sprintf(`{"fault":%q}`, v.fault))
			raw, err := w.exchange(chat(5))
			if !errors.Is(err, v.err) {
				t.Errorf("the connection ended with %v, want %v", err, v.err)
			}
			_, body := cutAtBody(t, raw)
			events, whole, tail := unchunk(t, body)
			events, done := strings.CutSuffix(events, "data: [DONE]\n\n")
			events, failed := strings.CutSuffix(events, `data: {"error": {"message": "Internal server error", "type": "InternalServerError", "param": null, "code": 500}}`+"\n\n")
			text, finish := textOf(t, events)
			if text != v.text || finish != v.finish || done != v.done || whole != v.whole {
				t.Errorf("got text %q, finish %q, [DONE] %v, whole %v\nwant %q, %q, %v, %v",
					text, finish, done, whole, v.text, v.finish, v.done, v.whole)
			}
			if failed != (v.fault == FaultErrorEvent) {
				t.Errorf("error event: %v", failed)
			}
			halfEvent := strings.HasPrefix(tail, "f") && len(tail) > 20 && !strings.HasSuffix(tail, "\r\n")
			if want := v.fault == FaultMidChunk || v.fault == FaultReset; halfEvent != want {
				t.Errorf("half an event at the end: %v, want %v: %q", halfEvent, want, tail)
			}
			state := w.eventually("the answer to be over", func(s State) bool { return s.Open == 0 })
			if broken := int64(1); v.whole == (state.Broken == broken) {
				t.Errorf("counted whole %d, broken %d", state.Whole, state.Broken)
			}
		})
	}
}

// TestPlainFaults: the same for answers that are not streamed.
func TestPlainFaults(t *testing.T) {
	for _, v := range []struct {
		fault  Fault
		status int
		want   string // in the body
		cut    error  // what reading the body ends with
	}{
		{FaultNone, 200, `"content":" home type type 自动auto 点击click"`, nil},
		{FaultDrop, 200, `"content":" home type type 自动uto 点击click"`, nil},
		{FaultAbort, 200, `"content":" home type type","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null},"logprobs":null,"finish_reason":"abort"`, nil},
		{FaultErrorEvent, 500, `{"error":{"message":"Internal server error"`, nil},
		{FaultMidChunk, 200, `"object":"chat.completion"`, io.ErrUnexpectedEOF},
		{FaultFIN, 200, `"object":"chat.completion"`, io.ErrUnexpectedEOF},
		{FaultReset, 200, `"object":"chat.completion"`, unix.ECONNRESET},
		{FaultEarlyEnd, 200, fiveTokens, nil},
	} {
		t.Run(string("fault "+v.fault), func(t *testing.T) {
			w := startWorker(t, fmt.Sprintf(`{"fault":%q}`, v.fault))
			c := w.send(request("/v1/chat/completions", `{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5}`))
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			if answer.StatusCode != v.status || !strings.Contains(string(body), v.want) || !errors.Is(err, v.cut) {
				t.Errorf("got %d, %v: %s\nwant %d, %v: ...%s...", answer.StatusCode, err, body, v.status, v.cut, v.want)
			}
		})
	}
}

// TestFramings: how the end of a stream can be told, and that it is the same stream each time.
func TestFramings(t *testing.T) {
	const begin = "date: " + testDate + "\r\nserver: autoglm-sidecar-sim\r\n"
	const eventStream = "content-type: text/event-stream; charset=utf-8"
	for _, v := range []struct{ name, switches, request, head string }{
		{
			"chunked", `{"framing":"chunked"}`, chat(5),
			"HTTP/1.1 200 OK\r\n" + begin + eventStream + "\r\nconnection: close\r\ntransfer-encoding: chunked",
		},
		{
			"length", `{"framing":"length"}`, chat(5),
			"HTTP/1.1 200 OK\r\n" + begin + "content-length: 1535\r\n" + eventStream + "\r\nconnection: close",
		},
		{"close", `{"framing":"close"}`, chat(5), "HTTP/1.1 200 OK\r\n" + begin + eventStream + "\r\nconnection: close"},
		{"HTTP/1.0", `{"framing":"http10"}`, chat(5), "HTTP/1.0 200 OK\r\n" + begin + eventStream},
		{
			"asked by HTTP/1.0", `{"interim":[103]}`, strings.Replace(chat(5), "HTTP/1.1", "HTTP/1.0", 1),
			"HTTP/1.1 200 OK\r\n" + begin + eventStream + "\r\nconnection: close",
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			raw, err := startWorker(t, v.switches).exchange(v.request)
			if err != nil {
				t.Fatal(err)
			}
			head, body := cutAtBody(t, raw)
			if head != v.head {
				t.Errorf("head is\n%s\nwant\n%s", head, v.head)
			}
			if v.name == "chunked" {
				body, _, _ = unchunk(t, body)
			}
			text, finish := textOf(t, body)
			if len(body) != 1535 || text != fiveTokens || finish != "length" || !strings.HasSuffix(body, "data: [DONE]\n\n") {
				t.Errorf("the stream of %d bytes is\n%s", len(body), body)
			}
		})
	}
}

// TestCutOfAnAnnouncedLength: a Content-Length is the whole stream's, so that the cut can be seen.
func TestCutOfAnAnnouncedLength(t *testing.T) {
	for _, fault := range []Fault{FaultMidChunk, FaultFIN} {
		raw, err := startWorker(t, fmt.Sprintf(`{"framing":"length","fault":%q}`, fault)).exchange(chat(5))
		head, body := cutAtBody(t, raw)
		if err != nil || !strings.Contains(head, "\r\ncontent-length: 1535\r\n") || len(body) > 1200 || len(body) < 700 {
			t.Errorf("%s: %d bytes of body after\n%s", fault, len(body), head)
		}
	}
}

// TestInterimAndTrailers: what may stand before and after an answer.
func TestInterimAndTrailers(t *testing.T) {
	w := startWorker(t, `{"interim":[100,103,102],"trailers":true}`)
	raw, err := w.exchange(chat(5))
	if err != nil {
		t.Fatal(err)
	}
	raw, ok := strings.CutPrefix(raw, "HTTP/1.1 100 Continue\r\n\r\n"+
		"HTTP/1.1 103 Early Hints\r\nlink: </simulated.css>; rel=preload\r\n\r\n"+
		"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n")
	if !ok {
		t.Fatalf("got %q", raw)
	}
	head, body := cutAtBody(t, raw)
	if !strings.Contains(head, "\r\ntrailer: x-sim-tokens, x-sim-life\r\n") {
		t.Errorf("no trailers announced in\n%s", head)
	}
	if _, whole, trailers := unchunk(t, body); !whole || trailers != "x-sim-tokens: 5\r\nx-sim-life: "+testLife+"\r\n\r\n" {
		t.Errorf("trailers are %q", trailers)
	}
}

// TestEarlyAnswer: a request is refused though none of its body has been sent.
func TestEarlyAnswer(t *testing.T) {
	w := startWorker(t, `{"early_status":413}`)
	w.linger = time.Hour // so that only a half-close ends the exchange
	raw, err := w.exchange("POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\nContent-Length: 1000000\r\n\r\n")
	if err != nil || !strings.HasPrefix(raw, "HTTP/1.1 413 Request Entity Too Large\r\n") || !strings.Contains(raw, "\r\nconnection: close\r\n") {
		t.Errorf("got %v: %s", err, raw)
	}

	w.switches(`{"early_reset":true}`)
	_, err = w.exchange("POST /sim/echo HTTP/1.1\r\nHost: sim\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("a", 100_000))
	if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("with early_reset the connection ended with %v, want a reset", err)
	}
}

// TestMalformedShapes: net/http as a client refuses each shape, except those that it is known to be lenient about.
func TestMalformedShapes(t *testing.T) {
	lenient := []Malformed{"http2", "http19", "bare_lf", "obs_fold", "space_colon", "length_and_chunks", "after_end", "framing_trailer"}
	for _, shape := range malformedShapes()[1:] {
		t.Run(string(shape), func(t *testing.T) {
			w := startWorker(t, fmt.Sprintf(`{"malformed":%q}`, shape))
			c := w.send(chat(5))
			limited := io.LimitReader(c, 64<<10)
			answer, err := http.ReadResponse(bufio.NewReader(limited), nil)
			if err == nil {
				_, err = io.Copy(io.Discard, answer.Body)
			}
			if slices.Contains(lenient, shape) != (err == nil) {
				t.Errorf("net/http says %v", err)
			}
		})
	}
}

// TestSilence: a stream stays open and says nothing more, until its client leaves.
func TestSilence(t *testing.T) {
	w := startWorker(t, `{"fault":"silent"}`)
	c := w.send(chat(5))
	for _, token := range []string{" home", " type", " type"} {
		readUntil(t, c, `"delta":{"content":"`+token+`"}`)
		readUntil(t, c, "}\n\n\r\n")
	}
	w.switches(`{"hang":"engine"}`)
	w.switches(`{"hang":""}`) // does not wake it
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want silence", n, err)
	}
	c.Close()
	w.eventually("the client's leaving", func(s State) bool { return s.ClientsLeft == 1 && s.Open == 0 })
}

// TestEngineHangs: heads still come, /health is well, no token moves; lifted, every stream goes on to its end.
func TestEngineHangs(t *testing.T) {
	w := startWorker(t, `{"tokens_per_second":20}`)
	running := w.send(chat(20))
	readUntil(t, running, `"role":"assistant"`)
	w.switches(`{"hang":"engine"}`)
	fresh := w.send(chat(5))
	readUntil(t, fresh, "transfer-encoding: chunked\r\n\r\n")
	fresh.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := fresh.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want silence", n, err)
	}
	if status, _ := w.do(http.MethodGet, "/health", ""); status != http.StatusOK {
		t.Errorf("/health says %d", status)
	}
	w.switches(`{"hang":"","tokens_per_second":0}`)
	for _, c := range []net.Conn{running, fresh} {
		c.SetReadDeadline(time.Now().Add(patience))
		if rest, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n\r\n0\r\n\r\n") {
			t.Errorf("after the hang came %v, %q", err, rest)
		}
	}
}

// TestServerHangs: nothing is answered but the switches.
func TestServerHangs(t *testing.T) {
	w := startWorker(t, `{"hang":"server"}`)
	c := w.send("GET /health HTTP/1.1\r\nHost: sim\r\n\r\n")
	w.eventually("the request", func(s State) bool { return s.Open == 1 })
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want silence", n, err)
	}
	c.Close()
	state := w.eventually("the client's leaving", func(s State) bool { return s.ClientsLeft == 1 })
	if got := state.Departures[0]; got.While != "hung" || got.Path != "/health" {
		t.Errorf("noted %+v", got)
	}
}

// TestCrashAfterTokens: the count begins when the switch is set and goes over all streams.
func TestCrashAfterTokens(t *testing.T) {
	w := startWorker(t, "")
	for _, exit := range []int{-1, 0, 3} {
		if _, err := w.exchange(chat(5)); err != nil {
			t.Fatal(err)
		}
		want := crashNote{exit, w.tokens.Load() + 12}
		w.switches(fmt.Sprintf(`{"crash_after_tokens":12,"crash_exit":%d}`, exit))
		for range 3 {
			if _, err := w.exchange(chat(5)); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case got := <-w.crashed:
			if got != want {
				t.Errorf("crashed with exit status and after tokens %v, want %v", got, want)
			}
		default:
			t.Errorf("no crash after %d tokens, want %v", w.tokens.Load(), want)
		}
		w.switches(`{"crash_after_tokens":0}`)
	}
}

// TestEvery: each third request is struck, the others are well; the header strikes always.
func TestEvery(t *testing.T) {
	w := startWorker(t, `{"every":3,"fault":"swap"}`)
	var struck []bool
	for range 6 {
		raw, err := w.exchange(chat(5))
		if err != nil {
			t.Fatal(err)
		}
		struck = append(struck, strings.Contains(raw, "自动uato"))
	}
	if want := []bool{false, false, true, false, false, true}; !slices.Equal(struck, want) {
		t.Errorf("struck %v, want %v", struck, want)
	}
	raw, err := w.exchange(chat(5, `X-Sim: {"fault":"drop","at_token":0}`))
	if err != nil || !strings.Contains(raw, `" ome"`) {
		t.Errorf("with the header came %v, %s", err, raw)
	}
}

// TestHeaderIsForOneRequest: X-Sim changes nothing for others.
func TestHeaderIsForOneRequest(t *testing.T) {
	w := startWorker(t, `{"interim":[103]}`)
	if raw, err := w.exchange(chat(1, `X-Sim: {"interim":[102],"tokens_per_event":2}`)); err != nil || !strings.HasPrefix(raw, "HTTP/1.1 102 ") {
		t.Errorf("got %v, %q", err, raw)
	}
	if now := w.switches("{}"); !slices.Equal(now.Interim, []int{103}) || now.TokensPerEvent != 1 {
		t.Errorf("now all have %+v", now)
	}
}

// TestSwitchesAreChecked: what is unknown or out of range changes nothing and says so.
func TestSwitchesAreChecked(t *testing.T) {
	w := startWorker(t, `{"interim":[103]}`)
	for patch, want := range map[string]string{
		`{"falt":"drop"}`:             `unknown field "falt"`,
		`{"fault":"dorp"}`:            `fault: "dorp" is none of`,
		`{"tokens_per_second":-1}`:    "tokens_per_second: -1 is not 0, or 0.001 to 1000000",
		`{"tokens_per_event":0}`:      "tokens_per_event: 0 is not 1 to 1000",
		`{"prefill":"soon"}`:          "invalid duration",
		`{"prefill":"-1s"}`:           "prefill: -1s is not 0s or more",
		`{"interim":[101]}`:           "interim: 101 is not 1xx but 101",
		`{"early_status":200}`:        "early_status: 200 is not 0, or 400 to 599",
		`{"crash_exit":256}`:          "crash_exit: 256 is not -1 to 255",
		`{"crash_after_tokens":-1}`:   "crash_after_tokens: -1 is not 0 or more",
		`{"at_token":-1}`:             "at_token: -1 is not 0 or more",
		`{"every":0}`:                 "every: 0 is not 1 or more",
		`{"hang":"x"}`:                `hang: "x" is none of`,
		`{"on_term":""}`:              `on_term: "" is none of`,
		`{"framing":"x"}`:             `framing: "x" is none of`,
		`{"malformed":"x"}`:           `malformed: "x" is none of`,
		`{"every":2} {"every":3}`:     "more than one JSON value",
		`{"every":2,"every":"three"}`: "cannot unmarshal string",
	} {
		status, answer := w.do(http.MethodPost, "/sim/faults", patch)
		if got := strings.ReplaceAll(answer, `\"`, `"`); status != http.StatusBadRequest || !strings.Contains(got, want) {
			t.Errorf("%s: got %d %s, want 400 with %q", patch, status, got, want)
		}
	}
	if now := w.switches(`{}`); now.Every != 1 || !slices.Equal(now.Interim, []int{103}) {
		t.Errorf("the switches changed to %+v", now)
	}
	if status, answer := w.do(http.MethodPut, "/sim/faults", "{}"); status != http.StatusMethodNotAllowed {
		t.Errorf("PUT got %d %s", status, answer)
	}
	if raw, err := w.exchange(chat(5, "X-Sim: {1}")); err != nil || !strings.HasPrefix(raw, "HTTP/1.1 400 Bad Request") {
		t.Errorf("a broken header got %v, %s", err, raw)
	}
}

// TestSaturated: open answers flow on, later ones wait for their first token, and nobody is told how the worker is.
func TestSaturated(t *testing.T) {
	w := startWorker(t, `{"tokens_per_second":50}`)
	flowing := w.send(chat(1000))
	readUntil(t, flowing, `"role":"assistant"`)
	w.switches(`{"saturated":true}`)
	late := w.send(chat(5))
	readUntil(t, late, "transfer-encoding: chunked\r\n\r\n")
	asks := []net.Conn{late}
	for _, path := range []string{"/health", "/ping", "/health_generate", "/v1/models", "/version", "/metrics"} {
		asks = append(asks, w.send("GET "+path+" HTTP/1.1\r\nHost: sim\r\n\r\n"))
	}
	asks = append(asks, w.send(request("/v1/completions", `{"prompt":"a","max_tokens":1}`)))
	w.eventually("all of them", func(s State) bool { return s.Open == int64(1+len(asks)) })
	for range 20 {
		readUntil(t, flowing, "\n\n\r\n")
	}
	for i, c := range asks {
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("question %d read %d bytes, %v; want silence", i, n, err)
		}
	}
	w.switches(`{"saturated":false}`)
	late.SetReadDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(late); err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n\r\n0\r\n\r\n") {
		t.Errorf("once there is a place came %v, %q", err, rest)
	}
	if status, _ := w.do(http.MethodGet, "/health", ""); status != http.StatusOK {
		t.Errorf("/health says %d", status)
	}
}

// TestHealthThatAsksTheEngine: SGLang's way sees the hang that vLLM's doesn't.
func TestHealthThatAsksTheEngine(t *testing.T) {
	w := startWorker(t, `{"hang":"engine"}`)
	c := w.send("GET /health_generate HTTP/1.1\r\nHost: sim\r\n\r\n")
	w.eventually("the question", func(s State) bool { return s.Open == 1 })
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v; want silence", n, err)
	}
}

// TestCrashOnPrompt: only a prompt with the marker, wherever in it, and before any byte.
func TestCrashOnPrompt(t *testing.T) {
	w := startWorker(t, `{"crash_on_prompt":"boom \"now\"","crash_exit":7}`)
	for _, well := range []string{
		`{"prompt":"boom","max_tokens":1}`,
		`{"prompt":"hello","max_tokens":1,"user":"boom \"now\""}`,
	} {
		if _, err := w.exchange(request("/v1/completions", well)); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.crashed) > 0 {
		t.Fatal("it crashed on prompts without the marker")
	}
	for path, body := range map[string]string{
		"/v1/completions":      `{"prompt":"a boom \"now\" b","max_tokens":1,"stream":true}`,
		"/v1/chat/completions": `{"messages":[{"role":"user","content":[{"type":"text","text":"x boom \u0022now\u0022"}]}],"max_tokens":1}`,
	} {
		tokens := w.tokens.Load()
		w.send(request(path, body))
		if got, want := <-w.crashed, (crashNote{7, tokens}); got != want {
			t.Errorf("%s: crashed with exit status and after tokens %v, want %v", path, got, want)
		}
		w.eventually("the answer that goes on only in a test", func(s State) bool { return s.Open == 0 })
	}
}
