package http1

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// head makes a head of lines, with CRLF after each and the blank line.
func head(lines ...string) []byte {
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

func TestParseRequestRefuses(t *testing.T) {
	const get, host = "GET / HTTP/1.1", "Host: h"
	for _, tt := range []struct {
		name   string
		status int
		reason string // a part of it, so that each case is refused for its own sake
		head   []byte
	}{
		// How a head is made of lines.
		{"no blank line", 400, "blank line", []byte("GET / HTTP/1.1\r\nHost: h\r\n")},
		{"bytes behind the blank line", 400, "blank line", []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\nx")},
		{"nothing", 400, "blank line", nil},
		{"bare line feeds", 400, "bare line feed", []byte("GET / HTTP/1.1\nHost: h\n\n")},
		{"bare carriage return in a value", 400, "bare carriage return", head(get, host, "A: b\rc")},
		{"bare carriage return before a name", 400, "bare carriage return", head(get, host, "\rA: b")},
		{"folded line", 400, "folded", head(get, host, "A: b", " c")},
		{"folded by a tab", 400, "folded", head(get, host, "A: b", "\tc")},
		{"first line folded", 400, "folded", head(get, " Host: h")},
		{"line of white space", 400, "folded", head(get, host, "  ")},
		{"129 fields", 431, "too many fields", head(get, host+strings.Repeat("\r\nA: b", 128))},
		{"huge", 431, "too long", head(get, host, "A: "+strings.Repeat("x", MaxHead))},

		// Names and values.
		{"space before the colon", 400, "white space", head(get, "Host : h")},
		{"tab before the colon", 400, "white space", head(get, host, "Content-Length\t: 3")},
		{"space within a name", 400, "white space", head(get, host, "A b: c")},
		{"no name", 400, "without a valid name", head(get, host, ": b")},
		{"no colon", 400, "without a valid name", head(get, host, "abc")},
		{"name with a byte above ASCII", 400, "without a valid name", head(get, host, "A\xe9: b")},
		{"name with a slash", 400, "without a valid name", head(get, host, "A/b: c")},
		{"NUL in a name", 400, "NUL", head(get, host, "A\x00: b")},
		{"NUL in a value", 400, "NUL", head(get, host, "A: b\x00c")},
		{"escape in a value", 400, "control", head(get, host, "A: \x1b[2J")},

		// The request line.
		{"no version", 400, "isn't method, target and version", head("GET /", host)},
		{"one word", 400, "isn't method, target and version", head("GET", host)},
		{"two spaces before the target", 400, "byte in the request target", head("GET  / HTTP/1.1", host)},
		{"two spaces before the version", 400, "byte in the request target", head("GET /  HTTP/1.1", host)},
		{"space in the target", 400, "byte in the request target", head("GET /a b HTTP/1.1", host)},
		{"tab for a space", 400, "isn't method", head("GET\t/\tHTTP/1.1", host)},
		{"space at the end", 400, "no HTTP version", head("GET / HTTP/1.1 ", host)},
		{"method with a colon", 400, "method isn't a token", head("GE:T / HTTP/1.1", host)},
		{"HTTP/1.9", 505, "version", head("GET / HTTP/1.9", host)},
		{"HTTP/2.0", 505, "version", head("GET / HTTP/2.0", host)},
		{"HTTP/0.9", 505, "version", head("GET / HTTP/0.9", host)},
		{"HTTP/2 preface", 505, "version", head("PRI * HTTP/2.0")},
		{"lower-case version", 400, "no HTTP version", head("GET / http/1.1", host)},
		{"HTTP/1.10", 400, "no HTTP version", head("GET / HTTP/1.10", host)},
		{"HTTP/1", 400, "no HTTP version", head("GET / HTTP/1", host)},
		{"HTTP/+1.1", 400, "no HTTP version", head("GET / HTTP/+1.1", host)},

		// The target.
		{"empty target", 400, "empty request target", head("GET  HTTP/1.1", host)},
		{"control byte in the target", 400, "control", head("GET /\x01 HTTP/1.1", host)},
		{"byte above ASCII in the target", 400, "byte in the request target", head("GET /\xe9 HTTP/1.1", host)},
		{"fragment", 400, "byte in the request target", head("GET /#a HTTP/1.1", host)},
		{"unfinished percent escape", 400, "percent", head("GET /%4 HTTP/1.1", host)},
		{"percent escape that isn't", 400, "percent", head("GET /%zz HTTP/1.1", host)},
		{"relative target", 400, "unknown form", head("GET a HTTP/1.1", host)},
		{"target that is a query", 400, "unknown form", head("GET ?a HTTP/1.1", host)},
		{"* for GET", 400, "OPTIONS only", head("GET * HTTP/1.1", host)},
		{"other scheme", 400, "unknown form", head("GET ftp://h/ HTTP/1.1", host)},
		{"https", 400, "unknown form", head("GET https://h/ HTTP/1.1", host)},
		{"host and port for GET", 400, "unknown form", head("GET h:80 HTTP/1.1", host)},
		{"absolute target without a host", 400, "differ", head("GET http:///a HTTP/1.1", host)},
		{"absolute target that ends before its host", 400, "unknown form", head("GET http:// HTTP/1.1", host)},
		{"absolute target of another host", 400, "differ", head("GET http://other/ HTTP/1.1", host)},
		{"absolute target with a port that Host lacks", 400, "differ", head("GET http://h:80/ HTTP/1.1", host)},
		{"absolute target with a user", 400, "differ", head("GET http://u@h/ HTTP/1.1", host)},
		{"CONNECT with a path", 400, "CONNECT", head("CONNECT / HTTP/1.1", host)},
		{"CONNECT without a port", 400, "CONNECT", head("CONNECT h HTTP/1.1", host)},
		{"CONNECT with an empty port", 400, "CONNECT", head("CONNECT h: HTTP/1.1", host)},
		{"CONNECT to an address without a port", 400, "CONNECT", head("CONNECT [::1] HTTP/1.1", "Host: [::1]")},
		{"CONNECT to another host", 400, "differ", head("CONNECT h:80 HTTP/1.1", host)},

		// Host.
		{"no Host", 400, "no Host", head(get, "A: b")},
		{"no field at all", 400, "no Host", head(get)},
		{"no Host in HTTP/1.0", 400, "no Host", head("GET / HTTP/1.0", "A: b")},
		{"two Hosts", 400, "more than one Host", head(get, host, "host: i")},
		{"two equal Hosts", 400, "more than one Host", head(get, host, host)},
		{"two Hosts in HTTP/1.0", 400, "more than one Host", head("GET / HTTP/1.0", host, host)},
		{"an empty Host and a good one", 400, "more than one Host", head(get, "Host:", host)},

		// Framing.
		{"two lengths", 400, "two Content-Length", head(get, host, "Content-Length: 3", "Content-Length: 4")},
		{"two equal lengths", 400, "two Content-Length", head(get, host, "Content-Length: 3", "content-length: 3")},
		{"a length with chunks", 400, "both", head(get, host, "Content-Length: 3", "Transfer-Encoding: chunked")},
		{"chunks with a length", 400, "both", head(get, host, "Transfer-Encoding: chunked", "Content-Length: 3")},
		{"a length of 0 with chunks", 400, "both", head(get, host, "Content-Length: 0", "Transfer-Encoding: chunked")},
		{"+3", 400, "isn't a number", head(get, host, "Content-Length: +3")},
		{"-3", 400, "isn't a number", head(get, host, "Content-Length: -3")},
		{"0x3", 400, "isn't a number", head(get, host, "Content-Length: 0x3")},
		{"3.0", 400, "isn't a number", head(get, host, "Content-Length: 3.0")},
		{"a list of lengths", 400, "isn't a number", head(get, host, "Content-Length: 3, 3")},
		{"3 4", 400, "isn't a number", head(get, host, "Content-Length: 3 4")},
		{"quoted length", 400, "isn't a number", head(get, host, `Content-Length: "3"`)},
		{"empty length", 400, "empty Content-Length", head(get, host, "Content-Length:")},
		{"length of white space", 400, "empty Content-Length", head(get, host, "Content-Length: \t ")},
		{"length just beyond 63 bits", 400, "too large", head(get, host, "Content-Length: 9223372036854775808")},
		{"length that comes round to 3", 400, "too large", head(get, host, "Content-Length: 18446744073709551619")},
		{"huge length", 400, "too large", head(get, host, "Content-Length: "+strings.Repeat("9", 60))},
		{"length with an underscore", 400, "underscore", head(get, host, "Content_Length: 3")},
		{"coding with an underscore", 400, "underscore", head(get, host, "transfer_encoding: chunked")},
		{"chunks in HTTP/1.0", 400, "HTTP/1.0", head("POST / HTTP/1.0", host, "Transfer-Encoding: chunked")},
		{"chunked twice", 400, "two Transfer-Encoding", head(get, host, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")},
		{"another coding", 501, "coding", head(get, host, "Transfer-Encoding: gzip")},
		{"another coding as well", 501, "coding", head(get, host, "Transfer-Encoding: gzip, chunked")},
		{"chunked but not last", 501, "coding", head(get, host, "Transfer-Encoding: chunked, identity")},
		{"identity", 501, "coding", head(get, host, "Transfer-Encoding: identity")},
		{"xchunked", 501, "coding", head(get, host, "Transfer-Encoding: xchunked")},
		{"chunked;q=1", 501, "coding", head(get, host, "Transfer-Encoding: chunked;q=1")},
		{"quoted chunked", 501, "coding", head(get, host, `Transfer-Encoding: "chunked"`)},
		{"chunked behind a non-breaking space", 501, "coding", head(get, host, "Transfer-Encoding: \xa0chunked")},
		{"an empty coding", 501, "coding", head(get, host, "Transfer-Encoding:")},

		// What is said about other fields.
		{"Connection names Host", 400, "Connection names", head(get, host, "Connection: close, Host")},
		{"Connection names the length", 400, "Connection names", head(get, host, "Connection: content-length")},
		{"Connection names the coding", 400, "Connection names", head(get, host, "Connection:\tTransfer-Encoding")},
		{"Connection names Trailer", 400, "Connection names", head(get, host, "Connection: Trailer")},
		{"Connection names Authorization", 400, "Connection names", head(get, host, "Connection: authorization")},
		{"Connection names the content's type", 400, "Connection names", head(get, host, "Connection: ,, Content-Type")},
		{"a second Connection names Host", 400, "Connection names", head(get, host, "Connection: close", "Connection: host")},
		{"Connection with a space in an option", 400, "isn't a token", head(get, host, "Connection: keep alive")},
		{"Connection with a quoted option", 400, "isn't a token", head(get, host, `Connection: "close"`)},
		{"17 connection options", 400, "too many connection options", head(get, host, "Connection: a"+strings.Repeat(",a", 16))},
		{"Trailer names the length", 400, "Trailer names", head(get, host, "Trailer: A, Content-Length")},
		{"Trailer names Host", 400, "Trailer names", head(get, host, "Trailer: host")},
		{"Trailer names something else", 400, "Trailer names", head(get, host, "Trailer: a b")},
		{"another expectation", 417, "expectation", head(get, host, "Expect: 200-ok")},
		{"an empty expectation", 417, "expectation", head(get, host, "Expect:")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Request
			bad := ParseRequest(tt.head, &r)
			if statusOf(bad) != tt.status || bad != nil && !strings.Contains(bad.Reason, tt.reason) {
				t.Errorf("ParseRequest(%.200q)\n got %v (status %d)\nwant status %d with %q", tt.head, bad, statusOf(bad), tt.status, tt.reason)
			}
		})
	}
}

func TestParseRequestTakes(t *testing.T) {
	type want struct {
		method    Method
		name      string
		target    string
		host      string
		id        string
		minor     uint8
		framing   Framing
		length    int64
		keepAlive bool
		expect    bool
		upgrade   bool
	}
	const get, post, host = "GET / HTTP/1.1", "POST / HTTP/1.1", "Host: h"
	for _, tt := range []struct {
		name string
		head []byte
		want want
	}{
		{"the least", head(get, host), want{MethodGet, "GET", "/", "h", "", 1, FramingNone, 0, true, false, false}},
		{
			"what an SDK sends",
			head("POST /v1/chat/completions?a=b HTTP/1.1", "Host: 127.0.0.1:8000", "Content-Type: application/json", "Authorization: Bearer x", "X-Request-ID: r-1", "content-length: 17"),
			want{MethodPost, "POST", "/v1/chat/completions?a=b", "127.0.0.1:8000", "r-1", 1, FramingLength, 17, true, false, false},
		},
		{"chunks", head(post, host, "TRANSFER-encoding:Chunked"), want{MethodPost, "POST", "/", "h", "", 1, FramingChunked, 0, true, false, false}},
		{"the greatest length", head(post, host, "Content-Length: 9223372036854775807"), want{MethodPost, "POST", "/", "h", "", 1, FramingLength, 1<<63 - 1, true, false, false}},
		{"a length with zeros before it", head(post, host, "Content-Length: \t007 "), want{MethodPost, "POST", "/", "h", "", 1, FramingLength, 7, true, false, false}},
		{"no body, said so", head(post, host, "Content-Length: 0"), want{MethodPost, "POST", "/", "h", "", 1, FramingLength, 0, true, false, false}},
		{"another method", head("purge / HTTP/1.1", host), want{MethodOther, "purge", "/", "h", "", 1, FramingNone, 0, true, false, false}},
		{"a method in lower case is another", head("get / HTTP/1.1", host), want{MethodOther, "get", "/", "h", "", 1, FramingNone, 0, true, false, false}},
		{"* for OPTIONS", head("OPTIONS * HTTP/1.1", host), want{MethodOptions, "OPTIONS", "*", "h", "", 1, FramingNone, 0, true, false, false}},
		{"absolute", head("GET HTTP://H:80/a?b HTTP/1.1", "Host: h:80"), want{MethodGet, "GET", "/a?b", "h:80", "", 1, FramingNone, 0, true, false, false}},
		{"absolute without a path", head("GET http://h HTTP/1.1", host), want{MethodGet, "GET", "", "h", "", 1, FramingNone, 0, true, false, false}},
		{"absolute with a query only", head("GET http://h?/b HTTP/1.1", host), want{MethodGet, "GET", "?/b", "h", "", 1, FramingNone, 0, true, false, false}},
		{"CONNECT", head("CONNECT h:443 HTTP/1.1", "Host: H:443"), want{MethodConnect, "CONNECT", "h:443", "H:443", "", 1, FramingNone, 0, true, false, false}},
		{"two slashes first", head("GET //a HTTP/1.1", host), want{MethodGet, "GET", "//a", "h", "", 1, FramingNone, 0, true, false, false}},
		{"a lone % in the query", head("GET /%41?100% HTTP/1.1", host), want{MethodGet, "GET", "/%41?100%", "h", "", 1, FramingNone, 0, true, false, false}},

		{"HTTP/1.0", head("GET / HTTP/1.0", host), want{MethodGet, "GET", "/", "h", "", 0, FramingNone, 0, false, false, false}},
		{"HTTP/1.0 that stays", head("GET / HTTP/1.0", host, "Connection: Keep-Alive"), want{MethodGet, "GET", "/", "h", "", 0, FramingNone, 0, true, false, false}},
		{"HTTP/1.0 that can't decide", head("GET / HTTP/1.0", host, "Connection: keep-alive, close"), want{MethodGet, "GET", "/", "h", "", 0, FramingNone, 0, false, false, false}},
		{"close", head(get, host, "Connection: foo, ,Close"), want{MethodGet, "GET", "/", "h", "", 1, FramingNone, 0, false, false, false}},
		{"Proxy-Connection says nothing", head(get, host, "Proxy-Connection: close"), want{MethodGet, "GET", "/", "h", "", 1, FramingNone, 0, true, false, false}},
		{"expects", head(post, host, "Expect: 100-Continue", "Content-Length: 1"), want{MethodPost, "POST", "/", "h", "", 1, FramingLength, 1, true, true, false}},
		{"expects without a body", head(post, host, "Expect: 100-continue"), want{MethodPost, "POST", "/", "h", "", 1, FramingNone, 0, true, false, false}},
		{"expects in HTTP/1.0", head("POST / HTTP/1.0", host, "Expect: 100-continue", "Content-Length: 1"), want{MethodPost, "POST", "/", "h", "", 0, FramingLength, 1, false, false, false}},
		{"upgrade", head(get, host, "Connection: Upgrade", "Upgrade: websocket"), want{MethodGet, "GET", "/", "h", "", 1, FramingNone, 0, true, false, true}},

		{"the first of two ids", head(get, host, "x-request-id: a", "x-request-id: b"), want{MethodGet, "GET", "/", "h", "a", 1, FramingNone, 0, true, false, false}},
		{"an id with a space", head(get, host, "x-request-id: a b"), want{MethodGet, "GET", "/", "h", "", 1, FramingNone, 0, true, false, false}},
		{"an id above ASCII", head(get, host, "x-request-id: \xe9"), want{MethodGet, "GET", "/", "h", "", 1, FramingNone, 0, true, false, false}},
		{"an id that is too long", head(get, host, "x-request-id: "+strings.Repeat("i", MaxRequestID+1)), want{MethodGet, "GET", "/", "h", "", 1, FramingNone, 0, true, false, false}},
		{"an empty id and a good one", head(get, host, "x-request-id:", "x-request-id: b"), want{MethodGet, "GET", "/", "h", "b", 1, FramingNone, 0, true, false, false}},
		{"128 fields", head(get, host+strings.Repeat("\r\nA: b", 127)), want{MethodGet, "GET", "/", "h", "", 1, FramingNone, 0, true, false, false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Request
			if bad := ParseRequest(tt.head, &r); bad != nil {
				t.Fatalf("ParseRequest(%q): %v", tt.head, bad)
			}
			got := want{
				r.Method, string(r.MethodName.Of(tt.head)), string(r.Target.Of(tt.head)), string(r.Host.Of(tt.head)), string(r.RequestID.Of(tt.head)),
				r.Minor, r.Framing, r.Length, r.KeepAlive, r.ExpectContinue, r.Upgrade,
			}
			if got != tt.want {
				t.Errorf("ParseRequest(%q)\n got %+v\nwant %+v", tt.head, got, tt.want)
			}
		})
	}
}

// Whatever was in a Request before, a parse begins anew.
func TestParseRequestForgetsTheOneBefore(t *testing.T) {
	var used, fresh Request
	first := head("POST http://h/ HTTP/1.1", "Host: h", "X-Request-Id: a", "Connection: close, b", "B: c", "Upgrade: x", "Expect: 100-continue", "Transfer-Encoding: chunked")
	second := head("GET / HTTP/1.0", "Host: i")
	if bad := ParseRequest(first, &used); bad != nil {
		t.Fatal(bad)
	}
	if bad := ParseRequest(second, &used); bad != nil {
		t.Fatal(bad)
	}
	if bad := ParseRequest(second, &fresh); bad != nil {
		t.Fatal(bad)
	}
	if used != fresh {
		t.Errorf("after another request: %+v\nwant %+v", used, fresh)
	}
}

func TestHost(t *testing.T) {
	for host, want := range map[string]bool{
		"h": true, "a.b-c_d~e.": true, "127.0.0.1:8000": true, "H:0": true, "h:65535": true, "h:": true,
		"[::1]": true, "[::1]:80": true, "[2001:DB8::a:b]": true, "[1:2:3:4:5:6:7:8]": true,
		"": false, ":80": false, "h:65536": false, "h:000080": false, "h:+80": false, "h:80:80": false, "h:8a": false,
		"a b": false, "a,b": false, "a/b": false, "a@b": false, "a?b": false, "a#b": false, `a\b`: false, "a%41": false, "\xe9": false, "a\tb": false,
		"[::1": false, "::1": false, "[]": false, "[h]": false, "[127.0.0.1]": false, "[::1]x": false, "[::1]80": false, "[fe80::1%25eth0]": false, "[v1.a]": false, "[[::1]]": false,
	} {
		t.Run(fmt.Sprintf("%q", host), func(t *testing.T) {
			var r Request
			bad := ParseRequest(head("GET / HTTP/1.1", "Host: "+host), &r)
			if (bad == nil) != want || bad != nil && (bad.Status != 400 || !strings.Contains(bad.Reason, "Host isn't a valid host")) {
				t.Errorf("Host %q: got %v, want taken: %v", host, bad, want)
			}
		})
	}
}

// An address is one for us exactly if it is one for net/netip: all texts of up to seven bytes of a small alphabet, and groups around the eight that there may be.
func TestIPv6(t *testing.T) {
	check := func(text string) {
		t.Helper()
		addr, err := netip.ParseAddr(text)
		if got, want := isIPv6([]byte(text)), err == nil && addr.Is6(); got != want {
			t.Errorf("isIPv6(%q) = %v, want %v", text, got, want)
		}
	}
	var all func(text string)
	all = func(text string) {
		check(text)
		if len(text) < 7 {
			for _, c := range "1:fg" {
				all(text + string(c))
			}
		}
	}
	all("")
	for groups := 1; groups <= 9; groups++ {
		parts := strings.Split(strings.Repeat("1", groups), "")
		check(strings.Join(parts, ":"))
		check("::" + strings.Join(parts, ":"))
		check(strings.Join(parts, ":") + "::")
		for gap := 1; gap < groups; gap++ {
			check(strings.Join(parts[:gap], ":") + "::" + strings.Join(parts[gap:], ":"))
		}
	}
	check("12345::")
	check("1234::abcd")
}
