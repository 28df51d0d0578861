package http1

import (
	"strings"
	"testing"
)

func TestParseResponseRefuses(t *testing.T) {
	const ok = "HTTP/1.1 200 OK"
	for _, tt := range []struct {
		name   string
		reason string
		head   []byte
	}{
		{"bare line feeds", "bare line feed", []byte("HTTP/1.1 200 OK\n\n")},
		{"huge", "too long", head(ok, "A: "+strings.Repeat("x", MaxHead))},
		{"folded line", "folded", head(ok, "A: b", " c")},
		{"129 fields", "too many fields", head(ok + strings.Repeat("\r\nA: b", 129))},
		{"space before the colon", "white space", head(ok, "Content-Length : 3")},
		{"empty", "status line", head("H")},
		{"no code", "status line", head("HTTP/1.1")},
		{"no code, but a space", "status line", head("HTTP/1.1 ")},
		{"two digits", "status line", head("HTTP/1.1 20")},
		{"two digits and a reason", "isn't a number", head("HTTP/1.1 20 OK")},
		{"four digits", "three digits", head("HTTP/1.1 2000 OK")},
		{"no number", "isn't a number", head("HTTP/1.1 2x0 OK")},
		{"two spaces", "isn't a number", head("HTTP/1.1  200 OK")},
		{"099", "out of range", head("HTTP/1.1 099 OK")},
		{"600", "out of range", head("HTTP/1.1 600 OK")},
		{"HTTP/2.0", "version", head("HTTP/2.0 200 OK")},
		{"HTTP/1.9", "version", head("HTTP/1.9 200 OK")},
		{"lower-case version", "version", head("http/1.1 200 OK")},
		{"Shoutcast", "status line", head("ICY 200 OK")},
		{"control byte in the reason", "control", head("HTTP/1.1 200 \x1b")},
		{"two lengths", "two Content-Length", head(ok, "Content-Length: 3", "Content-Length: 3")},
		{"a length with chunks", "both", head(ok, "Content-Length: 3", "Transfer-Encoding: chunked")},
		{"+3", "isn't a number", head(ok, "Content-Length: +3")},
		{"another coding", "coding", head(ok, "Transfer-Encoding: gzip, chunked")},
		{"chunks in HTTP/1.0", "HTTP/1.0", head("HTTP/1.0 200 OK", "Transfer-Encoding: chunked")},
		{"Connection names the length", "Connection names", head(ok, "Connection: content-length", "Content-Length: 3")},
		{"Trailer names the length", "Trailer names", head(ok, "Trailer: content-length", "Transfer-Encoding: chunked")},
		{"101", "nobody asked", head("HTTP/1.1 101 Switching Protocols", "Upgrade: x")},
		{"chunks with 204", "can't have one", head("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked")},
		{"a length with 204", "can't have one", head("HTTP/1.1 204 No Content", "Content-Length: 3")},
		{"a length with 103", "can't have one", head("HTTP/1.1 103 Early Hints", "Content-Length: 3")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Response
			bad := ParseResponse(tt.head, MethodGet, &r)
			if statusOf(bad) != 502 || !strings.Contains(bad.Reason, tt.reason) {
				t.Errorf("ParseResponse(%.200q)\n got %v\nwant status 502 with %q", tt.head, bad, tt.reason)
			}
		})
	}
}

func TestParseResponseTakes(t *testing.T) {
	type want struct {
		status      int
		reason      string
		minor       uint8
		framing     Framing
		length      int64
		keepAlive   bool
		eventStream bool
		encoded     bool
	}
	const (
		ok     = "HTTP/1.1 200 OK"
		chunks = "Transfer-Encoding: chunked"
		length = "Content-Length: 3"
		sse    = "Content-Type: text/event-stream"
	)
	for _, tt := range []struct {
		name   string
		method Method
		head   []byte
		want   want
	}{
		{"vLLM's stream", MethodPost, head(ok, "date: now", "server: uvicorn", "content-type: text/event-stream; charset=utf-8", "transfer-encoding: chunked"), want{200, "OK", 1, FramingChunked, 0, true, true, false}},
		{"a length", MethodGet, head(ok, length), want{200, "OK", 1, FramingLength, 3, true, false, false}},
		{"neither", MethodGet, head(ok), want{200, "OK", 1, FramingClose, 0, false, false, false}},
		{"neither, of HTTP/1.0", MethodGet, head("HTTP/1.0 200 OK", "Connection: keep-alive"), want{200, "OK", 0, FramingClose, 0, false, false, false}},
		{"a length, of HTTP/1.0", MethodGet, head("HTTP/1.0 200 OK", length), want{200, "OK", 0, FramingLength, 3, false, false, false}},
		{"a length, of HTTP/1.0 that stays", MethodGet, head("HTTP/1.0 200 OK", length, "connection: keep-alive"), want{200, "OK", 0, FramingLength, 3, true, false, false}},
		{"close", MethodGet, head(ok, length, "Connection: close"), want{200, "OK", 1, FramingLength, 3, false, false, false}},
		{"HEAD with a length", MethodHead, head(ok, length), want{200, "OK", 1, FramingNone, 3, true, false, false}},
		{"HEAD with chunks", MethodHead, head(ok, chunks), want{200, "OK", 1, FramingNone, 0, true, false, false}},
		{"HEAD with neither", MethodHead, head(ok), want{200, "OK", 1, FramingNone, 0, true, false, false}},
		{"204", MethodGet, head("HTTP/1.1 204 No Content"), want{204, "No Content", 1, FramingNone, 0, true, false, false}},
		{"204 with no length, said so", MethodGet, head("HTTP/1.1 204 No Content", "Content-Length: 0"), want{204, "No Content", 1, FramingNone, 0, true, false, false}},
		{"304 with a length", MethodGet, head("HTTP/1.1 304 Not Modified", length), want{304, "Not Modified", 1, FramingNone, 3, true, false, false}},
		{"304 with chunks", MethodGet, head("HTTP/1.1 304 Not Modified", chunks), want{304, "Not Modified", 1, FramingNone, 0, true, false, false}},
		{"100", MethodPost, head("HTTP/1.1 100 Continue"), want{100, "Continue", 1, FramingNone, 0, true, false, false}},
		{"103", MethodPost, head("HTTP/1.1 103 Early Hints", "Link: </a>"), want{103, "Early Hints", 1, FramingNone, 0, true, false, false}},
		{"no reason", MethodGet, head("HTTP/1.1 200 ", length), want{200, "", 1, FramingLength, 3, true, false, false}},
		{"no reason and no space", MethodGet, head("HTTP/1.1 200", length), want{200, "", 1, FramingLength, 3, true, false, false}},
		{"a reason of many words", MethodGet, head("HTTP/1.1 599 A  b\tc\xe9", length), want{599, "A  b\tc\xe9", 1, FramingLength, 3, true, false, false}},

		{"an event stream without parameters", MethodGet, head(ok, length, sse), want{200, "OK", 1, FramingLength, 3, true, true, false}},
		{"an event stream in capitals", MethodGet, head(ok, length, "Content-Type: TEXT/Event-Stream ;a=b"), want{200, "OK", 1, FramingLength, 3, true, true, false}},
		{"almost an event stream", MethodGet, head(ok, length, "Content-Type: text/event-streams"), want{200, "OK", 1, FramingLength, 3, true, false, false}},
		{"an event stream and something else", MethodGet, head(ok, length, sse, "Content-Type: text/plain"), want{200, "OK", 1, FramingLength, 3, true, false, false}},
		{"something else and an event stream", MethodGet, head(ok, length, "Content-Type: text/plain", sse), want{200, "OK", 1, FramingLength, 3, true, false, false}},
		{"gzip", MethodGet, head(ok, length, sse, "Content-Encoding: gzip"), want{200, "OK", 1, FramingLength, 3, true, true, true}},
		{"identity", MethodGet, head(ok, length, "Content-Encoding: ,Identity"), want{200, "OK", 1, FramingLength, 3, true, false, false}},
		{"identity and gzip", MethodGet, head(ok, length, "Content-Encoding: identity, gzip"), want{200, "OK", 1, FramingLength, 3, true, false, true}},
		{"gzip on its own line", MethodGet, head(ok, length, "Content-Encoding: gzip", "Content-Encoding: identity"), want{200, "OK", 1, FramingLength, 3, true, false, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Response
			if bad := ParseResponse(tt.head, tt.method, &r); bad != nil {
				t.Fatalf("ParseResponse(%q): %v", tt.head, bad)
			}
			got := want{r.Status, string(r.Reason.Of(tt.head)), r.Minor, r.Framing, r.Length, r.KeepAlive, r.EventStream, r.Encoded}
			if got != tt.want {
				t.Errorf("ParseResponse(%q)\n got %+v\nwant %+v", tt.head, got, tt.want)
			}
		})
	}
}
