package http1

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
)

func TestAppendRequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		id   string
		in   []byte
		want []byte
	}{
		{
			"order and case are the client's", "new",
			head("POST /v1/x?y HTTP/1.1", "hOST: h", "b:  two  spaces ", "A:1", "content-length:5", "a: 2", "Empty:"),
			head("POST /v1/x?y HTTP/1.1", "hOST: h", "b:  two  spaces ", "A:1", "content-length: 5", "a: 2", "Empty:", "X-Request-Id: new", "Connection: close"),
		},
		{
			"hop by hop", "",
			head("GET / HTTP/1.1", "Connection: keep-alive, Foo,bar", "Host: h", "foo: 1", "Keep-Alive: 5", "A: 1", "BAR: 2", "Proxy-Connection: x", "TE: trailers", "Foo: 3", "Upgrade: h2c", "connection: te", "B: 2"),
			head("GET / HTTP/1.1", "Host: h", "A: 1", "B: 2", "Connection: close"),
		},
		{
			"expectation", "",
			head("POST / HTTP/1.1", "Host: h", "Expect: 100-continue", "Content-Length: 1"),
			head("POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Connection: close"),
		},
		{
			"credentials stay", "",
			head("GET / HTTP/1.1", "Host: h", "Authorization: a", "Proxy-Authorization: b", "Cookie: c"),
			head("GET / HTTP/1.1", "Host: h", "Authorization: a", "Proxy-Authorization: b", "Cookie: c", "Connection: close"),
		},
		{
			"an id in its place, and once", "new",
			head("GET / HTTP/1.1", "Host: h", "x-request-ID:old", "A: 1", "X-Request-Id: older"),
			head("GET / HTTP/1.1", "Host: h", "x-request-ID: new", "A: 1", "Connection: close"),
		},
		{
			"an id even if Connection names it", "new",
			head("GET / HTTP/1.1", "Host: h", "X-Request-Id: old", "Connection: x-request-id"),
			head("GET / HTTP/1.1", "Host: h", "X-Request-Id: new", "Connection: close"),
		},
		{
			"no id", "",
			head("GET / HTTP/1.1", "X-Request-Id: old", "Host: h"),
			head("GET / HTTP/1.1", "Host: h", "Connection: close"),
		},
		{
			"framing as we read it", "",
			head("POST / HTTP/1.1", "Content-Length:  0007\t", "Host: h"),
			head("POST / HTTP/1.1", "Content-Length: 7", "Host: h", "Connection: close"),
		},
		{
			"chunks as we read them", "",
			head("POST / HTTP/1.1", "Host: h", "transfer-encoding:\tCHUNKED ", "Trailer: A"),
			head("POST / HTTP/1.1", "Host: h", "transfer-encoding: chunked", "Trailer: A", "Connection: close"),
		},
		{
			"trailers without chunks", "",
			head("POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Trailer: A"),
			head("POST / HTTP/1.1", "Host: h", "Content-Length: 1", "Connection: close"),
		},
		{
			"HTTP/1.0", "",
			head("GET / HTTP/1.0", "Host: h"),
			head("GET / HTTP/1.1", "Host: h", "Connection: close"),
		},
		{"absolute form", "", head("GET http://h/a?b HTTP/1.1", "Host: H"), head("GET /a?b HTTP/1.1", "Host: H", "Connection: close")},
		{"absolute form without a path", "", head("GET http://h HTTP/1.1", "Host: h"), head("GET / HTTP/1.1", "Host: h", "Connection: close")},
		{"absolute form with a query only", "", head("OPTIONS http://h?b HTTP/1.1", "Host: h"), head("OPTIONS /?b HTTP/1.1", "Host: h", "Connection: close")},
		{"absolute form of *", "", head("OPTIONS http://h HTTP/1.1", "Host: h"), head("OPTIONS * HTTP/1.1", "Host: h", "Connection: close")},
		{"*", "", head("OPTIONS * HTTP/1.1", "Host: h"), head("OPTIONS * HTTP/1.1", "Host: h", "Connection: close")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Request
			if bad := ParseRequest(tt.in, &r); bad != nil {
				t.Fatal(bad)
			}
			got := AppendRequest([]byte("before|"), tt.in, &r, RequestEdit{RequestID: []byte(tt.id)})
			if want := "before|" + string(tt.want); string(got) != want {
				t.Errorf("of %q\n got %q\nwant %q", tt.in, got, want)
			}
			kept := AppendRequest(nil, tt.in, &r, RequestEdit{RequestID: []byte(tt.id), KeepAlive: true})
			if want := bytes.Replace(tt.want, []byte("Connection: close\r\n"), nil, 1); !bytes.Equal(kept, want) {
				t.Errorf("to a worker's connection that goes on: got\n%q\nwant\n%q", kept, want)
			}
		})
	}
}

func TestAppendResponse(t *testing.T) {
	const ok, chunks, length, sse = "HTTP/1.1 200 OK", "transfer-encoding: chunked", "content-length: 3", "Content-Type: text/event-stream"
	for _, tt := range []struct {
		name   string
		method Method
		minor  uint8 // of the client
		close  bool
		id     string
		in     []byte
		want   []byte
	}{
		{
			"order and case are the worker's", MethodPost, 1, false, "r",
			head(ok, "date: d", "X-Request-ID: w", "set-cookie: a", chunks, "Set-Cookie: b"),
			head(ok, "date: d", "X-Request-ID: r", "set-cookie: a", chunks, "Set-Cookie: b", ""),
		},
		{
			"hop by hop", MethodGet, 1, false, "",
			head(ok, "Connection: keep-alive, foo", "Keep-Alive: timeout=5", length, "Foo: 1", "Upgrade: h2c", "Proxy-Connection: x", "A: b", "Proxy-Authenticate: Basic"),
			head(ok, length, "A: b", "Proxy-Authenticate: Basic", ""),
		},
		{"our version", MethodGet, 1, false, "r", head("HTTP/1.0 200 OK", length), head(ok, length, "X-Request-Id: r", "")},
		{"a reason that was missing its space", MethodGet, 1, false, "", head("HTTP/1.1 200", length), head("HTTP/1.1 200 ", length, "")},
		{"the connection ends", MethodGet, 1, true, "", head(ok, length), head(ok, length, "Connection: close", "")},
		{"a length to HTTP/1.0 that stays", MethodGet, 0, false, "", head(ok, length), head(ok, length, "Connection: keep-alive", "")},
		{"a length to HTTP/1.0 that goes", MethodGet, 0, true, "", head(ok, length), head(ok, length, "Connection: close", "")},
		{"chunks to HTTP/1.0", MethodGet, 0, false, "", head(ok, chunks, "Trailer: A", "B: c"), head(ok, "B: c", "Connection: close", "")},
		{"trailers named", MethodGet, 1, false, "", head(ok, chunks, "Trailer: A"), head(ok, chunks, "Trailer: A", "")},
		{"till close to HTTP/1.1", MethodGet, 1, false, "", head(ok, "Connection: close", "A: b"), head(ok, "A: b", "Transfer-Encoding: chunked", "")},
		{"till close to HTTP/1.0", MethodGet, 0, false, "", head(ok, "A: b"), head(ok, "A: b", "Connection: close", "")},
		{"events with a length to HTTP/1.1", MethodGet, 1, false, "", head(ok, length, sse), head(ok, sse, "Transfer-Encoding: chunked", "")},
		{"events with a length to HTTP/1.0", MethodGet, 0, false, "", head(ok, length, sse), head(ok, sse, "Connection: close", "")},
		{"encoded events with a length", MethodGet, 1, false, "", head(ok, length, sse, "Content-Encoding: br"), head(ok, length, sse, "Content-Encoding: br", "")},
		{"HEAD with a length", MethodHead, 1, false, "", head(ok, length), head(ok, length, "")},
		{"HEAD with chunks", MethodHead, 1, false, "", head(ok, chunks), head(ok, chunks, "")},
		{"HEAD with a length to HTTP/1.0", MethodHead, 0, false, "", head(ok, length), head(ok, length, "Connection: keep-alive", "")},
		{"HEAD with chunks to HTTP/1.0", MethodHead, 0, false, "", head(ok, chunks, "A: b"), head(ok, "A: b", "Connection: keep-alive", "")},
		{"304 with a length", MethodGet, 1, false, "", head("HTTP/1.1 304 Not Modified", length), head("HTTP/1.1 304 Not Modified", length, "")},
		{"204 with no length, said so", MethodGet, 1, false, "", head("HTTP/1.1 204 No Content", "Content-Length: 0", "A: b"), head("HTTP/1.1 204 No Content", "A: b", "")},
		{"103", MethodGet, 1, false, "", head("HTTP/1.1 103 Early Hints", "Link: </a>"), head("HTTP/1.1 103 Early Hints", "Link: </a>", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Response
			if bad := ParseResponse(tt.in, tt.method, &r); bad != nil {
				t.Fatal(bad)
			}
			e := ResponseEdit{RequestID: []byte(tt.id), Framing: FramingOut(tt.minor, tt.method, &r), Length: r.Length, Close: tt.close, ClientMinor: tt.minor}
			got := AppendResponse([]byte("before|"), tt.in, &r, e)
			want := "before|" + strings.TrimSuffix(string(tt.want), "\r\n")
			if string(got) != want {
				t.Errorf("of %q\n got %q\nwant %q", tt.in, got, want)
			}
		})
	}
}

// A caller that knows another length than the worker's may say so.
func TestAppendResponseWithAnotherLength(t *testing.T) {
	for _, in := range []string{"content-length: 5", "transfer-encoding: chunked"} {
		in := head("HTTP/1.1 200 OK", in, "A: b")
		var r Response
		if bad := ParseResponse(in, MethodGet, &r); bad != nil {
			t.Fatal(bad)
		}
		got := string(AppendResponse(nil, in, &r, ResponseEdit{Framing: FramingLength, Length: 3, ClientMinor: 1}))
		if strings.Count(got, "\r\n") != 4 || !strings.Contains(strings.ToLower(got), "\r\ncontent-length: 3\r\n") {
			t.Errorf("of %q: got %q, want a Content-Length of 3 and no other framing", in, got)
		}
	}
}

func TestFramingOut(t *testing.T) {
	events := func(r Response) Response { r.EventStream = true; return r }
	encoded := func(r Response) Response { r.Encoded = true; return r }
	none, length, chunked, toClose := Response{}, Response{Framing: FramingLength}, Response{Framing: FramingChunked}, Response{Framing: FramingClose}
	for _, tt := range []struct {
		in           Response
		to10, to11   Framing
		toHEAD       Framing
		whatItStands string
	}{
		{none, FramingNone, FramingNone, FramingNone, "no body"},
		{length, FramingLength, FramingLength, FramingNone, "a length"},
		{chunked, FramingClose, FramingChunked, FramingNone, "chunks"},
		{toClose, FramingClose, FramingChunked, FramingNone, "till close"},
		{events(none), FramingNone, FramingNone, FramingNone, "no events"},
		{events(length), FramingClose, FramingChunked, FramingNone, "events with a length"},
		{events(chunked), FramingClose, FramingChunked, FramingNone, "events in chunks"},
		{events(toClose), FramingClose, FramingChunked, FramingNone, "events till close"},
		{encoded(events(length)), FramingLength, FramingLength, FramingNone, "encoded events with a length"},
	} {
		got := [...]Framing{FramingOut(0, MethodGet, &tt.in), FramingOut(1, MethodGet, &tt.in), FramingOut(1, MethodHead, &tt.in)}
		if want := [...]Framing{tt.to10, tt.to11, tt.toHEAD}; got != want {
			t.Errorf("%s: to 1.0, 1.1 and HEAD %v, want %v", tt.whatItStands, got, want)
		}
	}
}

// Whatever is put in, an edited head stays within MaxGrowth of the one that it was made from.
func TestMaxGrowth(t *testing.T) {
	id := bytes.Repeat([]byte("i"), MaxRequestID)
	check := func(in, out []byte) {
		t.Helper()
		if grown := len(out) - len(in); grown > MaxGrowth {
			t.Errorf("%q grew by %d to %q", in, grown, out)
		}
	}
	requests := []string{
		"OPTIONS http://h HTTP/1.1\r\nHost:h\r\nContent-Length:9223372036854775807\r\n\r\n",
		"GET http://h?q HTTP/1.1\r\nHost:h\r\nTransfer-Encoding:chunked\r\nX-Request-Id:i\r\n\r\n",
		"GET / HTTP/1.0\r\nHost:h\r\n\r\n",
		"GET http://h HTTP/1.0\r\nHost:h\r\nForwarded:for=a\r\nX-Forwarded-For:a\r\n\r\n",
	}
	for _, in := range requests {
		var r Request
		if bad := ParseRequest([]byte(in), &r); bad != nil {
			t.Fatal(bad)
		}
		for _, by := range []Forwarded{ForwardedOff, ForwardedForX, ForwardedRFC} {
			for _, trusted := range []bool{false, true} {
				longest := Origin{By: by, Client: netip.MustParseAddr("1111:2222:3333:4444:5555:6666:7777:8888%eth0"), Trusted: trusted}
				check([]byte(in), AppendRequest(nil, []byte(in), &r, RequestEdit{RequestID: id, Origin: longest}))
			}
		}
	}
	for _, in := range []string{"HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200\r\nContent-Length:1\r\nX-Request-Id:\r\n\r\n", "HTTP/1.1 200\r\nTransfer-Encoding:chunked\r\n\r\n"} {
		var r Response
		if bad := ParseResponse([]byte(in), MethodGet, &r); bad != nil {
			t.Fatal(bad)
		}
		for framing := FramingNone; framing <= FramingClose; framing++ {
			for minor := range uint8(2) {
				for _, ends := range []bool{false, true} {
					e := ResponseEdit{RequestID: id, Framing: framing, Length: 1<<63 - 1, Close: ends, ClientMinor: minor}
					check([]byte(in), AppendResponse(nil, []byte(in), &r, e))
				}
			}
		}
	}
	if longest := MaxHead + MaxGrowth; longest > 64<<10 {
		t.Error("the longest head, edited, exceeds 64 KiB")
	}
}
