package http1

import (
	"bytes"
	"strings"
	"testing"
)

// An SDK's request and vLLM's answer to it: the heads that are read all day.
var (
	sdkRequest = head(
		"POST /v1/chat/completions HTTP/1.1", "Host: 10.0.3.17:8000", "Accept-Encoding: gzip, deflate", "Connection: keep-alive", "Accept: application/json",
		"Content-Type: application/json", "User-Agent: OpenAI/Python 2.9.0", "X-Stainless-Lang: python", "X-Stainless-Package-Version: 2.9.0", "X-Stainless-OS: Linux",
		"X-Stainless-Arch: x64", "X-Stainless-Runtime: CPython", "X-Stainless-Runtime-Version: 3.12.3", "Authorization: Bearer EMPTY", "X-Stainless-Async: false",
		"x-stainless-retry-count: 0", "x-stainless-read-timeout: 600", "Content-Length: 5713",
	)
	vllmAnswer = head("HTTP/1.1 200 OK", "date: Tue, 04 Aug 2026 09:00:00 GMT", "server: uvicorn", "content-type: text/event-stream; charset=utf-8", "transfer-encoding: chunked")
	tokenChunk = append(append(AppendChunkSize(nil, 220), strings.Repeat("d", 220)...), "\r\n"...)
	requestID  = []byte("req-0123456789abcdef01234567")
)

// relayRequest and relayAnswer do what a relay does with a head that came in one piece.
func relayRequest(tb testing.TB, dst []byte, r *Request, in []byte) []byte {
	end, bad := FindHeadEnd(in, 0)
	if bad == nil {
		bad = ParseRequest(in[:end], r)
	}
	if bad != nil {
		tb.Fatal(bad)
	}
	return AppendRequest(dst, in[:end], r, RequestEdit{RequestID: requestID})
}

func relayAnswer(tb testing.TB, dst []byte, r *Response, in []byte) []byte {
	end, bad := FindHeadEnd(in, 0)
	if bad == nil {
		bad = ParseResponse(in[:end], MethodPost, r)
	}
	if bad != nil {
		tb.Fatal(bad)
	}
	return AppendResponse(dst, in[:end], r, ResponseEdit{RequestID: requestID, Framing: FramingOut(1, MethodPost, r), Length: r.Length, ClientMinor: 1})
}

// payload runs all of in through b and returns how many bytes of payload it had.
func payload(tb testing.TB, b *Body, in []byte) (n int) {
	for {
		used, p, bad := b.Next(in)
		if bad != nil {
			tb.Fatal(bad)
		}
		switch p.Kind {
		case Data, Trailer:
			n += p.To - p.From
		case More, End:
			return n
		}
		in = in[used:]
	}
}

func TestNothingIsAllocated(t *testing.T) {
	dst := make([]byte, 0, MaxHead+MaxGrowth)
	var request Request
	var response Response
	odd := head("OPTIONS http://[::1]:80?q HTTP/1.1", "Host: [::1]:80", "Connection: close, X-Hop, te", "X-Hop: 1", "Expect: 100-continue", "Transfer-Encoding: chunked", "Trailer: X-Sum", "X-Request-Id: a", "X-Request-Id: b", "Upgrade: h2c")
	oddAnswer := head("HTTP/1.0 200", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Content-Encoding: identity, gzip", "Content-Type: text/event-stream")
	trailers := []byte("5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
	for name, relay := range map[string]func(){
		"a request":      func() { dst = relayRequest(t, dst[:0], &request, sdkRequest) },
		"an odd request": func() { dst = relayRequest(t, dst[:0], &request, odd) },
		"an answer":      func() { dst = relayAnswer(t, dst[:0], &response, vllmAnswer) },
		"an odd answer":  func() { dst = relayAnswer(t, dst[:0], &response, oddAnswer) },
		"a token": func() {
			b := NewBody(FramingChunked, 0)
			if n := payload(t, &b, tokenChunk); n != 220 {
				t.Fatalf("a token's chunk has %d bytes of payload", n)
			}
		},
		"trailers":     func() { b := NewBody(FramingChunked, 0); payload(t, &b, trailers) },
		"a chunk size": func() { dst = AppendChunkSize(dst[:0], 220) },
	} {
		if n := testing.AllocsPerRun(100, relay); n != 0 {
			t.Errorf("%s costs %v allocations", name, n)
		}
	}
}

func BenchmarkRequestHead(b *testing.B) {
	dst := make([]byte, 0, MaxHead+MaxGrowth)
	var r Request
	b.SetBytes(int64(len(sdkRequest)))
	for b.Loop() {
		dst = relayRequest(b, dst[:0], &r, sdkRequest)
	}
}

func BenchmarkResponseHead(b *testing.B) {
	dst := make([]byte, 0, MaxHead+MaxGrowth)
	var r Response
	b.SetBytes(int64(len(vllmAnswer)))
	for b.Loop() {
		dst = relayAnswer(b, dst[:0], &r, vllmAnswer)
	}
}

// BenchmarkToken is the framing of one SSE event in a chunk of its own.
func BenchmarkToken(b *testing.B) {
	body := NewBody(FramingChunked, 0)
	b.SetBytes(int64(len(tokenChunk)))
	for b.Loop() {
		payload(b, &body, tokenChunk)
	}
}

// BenchmarkUnusualConnection is the most that a hostile head costs: every connection option that may be there names a field, so every line is compared with each of them.
func BenchmarkUnusualConnection(b *testing.B) {
	in := head("GET / HTTP/1.1", "Host: h", "Connection: "+strings.TrimSuffix(strings.Repeat("x-hop-by-hop,", maxOptions), ","), strings.Repeat("x-hop-by-hop: "+strings.Repeat("v", 400)+"\r\n", 125)+"A: b")
	dst := make([]byte, 0, MaxHead+MaxGrowth)
	var r Request
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		dst = relayRequest(b, dst[:0], &r, in)
	}
	if bytes.Contains(dst, []byte("x-hop")) {
		b.Error("a named field was sent on")
	}
}
