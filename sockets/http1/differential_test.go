package http1

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// maker makes messages that are valid and varied, from a seed.
type maker struct{ *rand.Rand }

func (m maker) oneOf(s ...string) string { return s[m.IntN(len(s))] }

// sometimes returns s, or nothing two times in three.
func (m maker) sometimes(s string) string { return m.oneOf(s, "", "") }

// letterCase changes the case of some letters.
func (m maker) letterCase(s string) string {
	b := []byte(s)
	switch m.IntN(4) {
	case 0:
		return strings.ToLower(s)
	case 1:
		return strings.ToUpper(s)
	case 2:
		for i, c := range b {
			if lower := c | 0x20; 'a' <= lower && lower <= 'z' && m.IntN(2) == 0 {
				b[i] ^= 0x20
			}
		}
	}
	return string(b)
}

func (m maker) field(name, value string) string {
	return m.letterCase(name) + ":" + m.oneOf("", " ", " ", " ", "\t", "  ") + value + m.oneOf("", "", "", " ", "\t ") + "\r\n"
}

// others makes field lines of no meaning to framing, some of which are hop by hop.
func (m maker) others() (lines []string) {
	for range m.IntN(12) {
		switch m.IntN(12) {
		case 0:
			lines = append(lines, m.field("Connection", m.oneOf("keep-alive", "close", "X-Hop", "x-hop , keep-alive,,TE", "Upgrade", "")))
		case 1:
			lines = append(lines, m.field("X-Hop", m.oneOf("1", "")))
		case 2:
			lines = append(lines, m.field(m.oneOf("Keep-Alive", "Proxy-Connection", "TE", "Upgrade"), m.oneOf("a", "trailers, deflate", "timeout=5")))
		case 3:
			lines = append(lines, m.field("X-Request-Id", m.oneOf("id-1", "", "a b", strings.Repeat("i", 200), "\"q\"")))
		case 4:
			lines = append(lines, m.field("Pragma", "no-cache"))
		case 5:
			lines = append(lines, m.field("Trailer", m.oneOf("X-Sum", "x-sum, X-Other", ",")))
		case 6:
			lines = append(lines, m.field("Cache-Control", m.oneOf("no-store", "max-age=1")))
		case 8:
			lines = append(lines, m.field(m.oneOf("X-Forwarded-For", "X_Forwarded-For", "Forwarded"), m.oneOf("", "203.0.113.9", "a, b", `for="a\"b"`, `for="`)))
		case 7:
			lines = append(lines, m.field(m.oneOf("Authorization", "Proxy-Authorization", "Cookie"), "Basic YTpi"))
		default:
			lines = append(lines, m.field(m.oneOf("Accept", "X-A", "!#$%&'*+-.^_`|~09", "Content-Language", "Hos", "Hostt", "Content-Lengt"), m.oneOf("a", "a,b;q=0.5", "", "\xe4\xff", "a  \t b", "chunked", "Host: h")))
		}
	}
	return lines
}

// body makes a framing line and a body to it, or neither.
func (m maker) body(chunks bool) (line, body, payload string, framing Framing) {
	payload = strings.Repeat("0\r\n\r\n", m.IntN(20)) + m.oneOf("", "x", "data: a\n\n")
	switch m.IntN(3) {
	case 0:
		return "", "", "", FramingNone
	case 1:
		return m.field("Content-Length", m.sometimes("00")+fmt.Sprint(len(payload))), payload, payload, FramingLength
	}
	if !chunks {
		return m.field("Content-Length", fmt.Sprint(len(payload))), payload, payload, FramingLength
	}
	var b strings.Builder
	for rest := payload; rest != ""; {
		n := 1 + m.IntN(len(rest))
		size := m.sometimes("000") + fmt.Sprintf(m.oneOf("%x", "%X"), n)
		fmt.Fprintf(&b, "%s%s\r\n%s\r\n", size, m.sometimes(m.oneOf(";", ";a=b", `;a="b; c"`)), rest[:n])
		rest = rest[n:]
	}
	b.WriteString(m.oneOf("0", "0", "000") + m.sometimes(";x") + "\r\n")
	for range m.IntN(3) {
		b.WriteString(m.field(m.oneOf("X-Sum", "x-other", "Grpc-Status"), m.oneOf("1", "", "a b")))
	}
	b.WriteString("\r\n")
	return m.field("Transfer-Encoding", m.letterCase("chunked")), b.String(), payload, FramingChunked
}

// message shuffles the lines and puts all together.
func (m maker) message(start string, lines []string, body string) string {
	m.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	return start + "\r\n" + strings.Join(lines, "") + "\r\n" + body
}

// request makes a request and says what of it we must have understood.
func (m maker) request() (raw string, want Request, payload string) {
	methods := [...]string{"PURGE", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"}
	method := m.IntN(len(methods))
	want.Method = Method(method)
	host := m.oneOf("h", "127.0.0.1:8000", "[::1]:80", "Worker-1.Example:443")
	path := m.oneOf("/", "/v1/chat/completions", "//x/../y", "/a%2Fb;c=d:e@f", "/x{y}|z")
	path += m.oneOf("", "", "?", "?q=1&r=%", "?http://x/")
	switch m.IntN(6) {
	case 0:
		path = m.letterCase("http://") + m.letterCase(host) + path
	case 1:
		path = "http://" + host + m.oneOf("", "?", "?q=/")
	}
	minor := m.IntN(5)
	if minor > 0 {
		minor = 1
	}
	want.Minor = uint8(minor)
	line, body, payload, framing := m.body(minor == 1)
	lines := append(m.others(), m.field("Host", host))
	if line != "" {
		lines = append(lines, line)
	}
	if m.IntN(4) == 0 {
		lines = append(lines, m.field("Expect", m.letterCase("100-continue")))
		want.ExpectContinue = minor == 1 && framing != FramingNone
	}
	want.Framing = framing
	if framing == FramingLength {
		want.Length = int64(len(payload))
	}
	return m.message(fmt.Sprintf("%s %s HTTP/1.%d", methods[method], path, minor), lines, body), want, payload
}

// response makes an answer to a request with the given method.
func (m maker) response(method string) (raw, payload string) {
	status := m.oneOf("200 OK", "200", "200 ", "404 Not Found", "503 Service  Unavailable", "304 Not Modified", "204 No Content", "103 Early Hints", "599 \xe9")
	minor := min(m.IntN(5), 1)
	line, body, payload, framing := m.body(minor == 1)
	lines := m.others()
	for range m.IntN(3) {
		lines = append(lines, m.field(m.oneOf("Content-Type", "Content-Type", "Content-Encoding"), m.oneOf("text/event-stream", "Text/Event-Stream;charset=utf-8", "identity", "gzip", "application/json")))
	}
	switch {
	case status[0] == '1' || status[:3] == "204":
		line, body, payload = m.sometimes(m.field("Content-Length", "0")), "", ""
	case method == "HEAD" || status[:3] == "304":
		body, payload = "", ""
	case framing == FramingNone:
		payload = m.oneOf("", "till close", "0\r\n\r\n")
		body = payload
	}
	if line != "" {
		lines = append(lines, line)
	}
	return m.message(fmt.Sprintf("HTTP/1.%d %s", minor, status), lines, body), payload
}

// damage changes a few bytes: most of what comes of it we must refuse, and the rest must still mean the same to net/http.
func (m maker) damage(raw string) string {
	b := []byte(raw)
	for range 1 + m.IntN(3) {
		at := m.IntN(len(b))
		switch m.IntN(4) {
		case 0:
			b[at] = "\r\n \t:;,0+\x00\x7f\xff%#"[m.IntN(14)]
		case 1:
			b = append(b[:at], b[at+1:]...)
		case 2:
			b = append(b[:at], append([]byte(m.oneOf("\r\n", "\n", "\r", " ", ":", "0", "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Host: i\r\n")), b[at:]...)...)
		case 3:
			to := at + m.IntN(min(20, len(b)-at))
			b = append(b[:to], b[at:]...)
		}
		if len(b) == 0 {
			return raw
		}
	}
	return string(b)
}

func TestRequestsAgainstNetHTTP(t *testing.T) {
	const rounds = 1500
	m := maker{rand.New(rand.NewPCG(2, 1))}
	damagedTaken := 0
	for range rounds {
		raw, want, payload := m.request()
		if !agreeOnRequest(t, []byte(raw)) {
			var r Request
			end, _ := FindHeadEnd([]byte(raw), 0)
			t.Fatalf("%q isn't taken: %v", raw, ParseRequest([]byte(raw[:end]), &r))
		}
		var r Request
		end, _ := FindHeadEnd([]byte(raw), 0)
		ParseRequest([]byte(raw[:end]), &r)
		got := Request{Method: r.Method, Minor: r.Minor, Framing: r.Framing, Length: r.Length, ExpectContinue: r.ExpectContinue}
		if got != want {
			t.Fatalf("%q\n got %+v\nwant %+v", raw, got, want)
		}
		if o := follow(t, NewBody(r.Framing, r.Length), raw[end:]); o.data != payload || !o.ended || o.rest != "" {
			t.Fatalf("body of %q: got %+v, want %q", raw, o, payload)
		}
		for range 5 {
			if agreeOnRequest(t, []byte(m.damage(raw))) {
				damagedTaken++
			}
		}
	}
	if damagedTaken == 0 || damagedTaken > 4*rounds {
		t.Errorf("of %d damaged requests %d were taken: the damage shows nothing", 5*rounds, damagedTaken)
	}
}

func TestResponsesAgainstNetHTTP(t *testing.T) {
	const rounds = 1500
	m := maker{rand.New(rand.NewPCG(2, 2))}
	damagedTaken := 0
	for range rounds {
		method := m.oneOf("GET", "POST", "HEAD")
		raw, payload := m.response(method)
		if !agreeOnResponse(t, method, []byte(raw)) {
			var r Response
			end, _ := FindHeadEnd([]byte(raw), 0)
			t.Fatalf("%q isn't taken: %v", raw, ParseResponse([]byte(raw[:end]), methodOf([]byte(method)), &r))
		}
		var r Response
		end, _ := FindHeadEnd([]byte(raw), 0)
		ParseResponse([]byte(raw[:end]), methodOf([]byte(method)), &r)
		if o := follow(t, NewBody(r.Framing, r.Length), raw[end:]); o.data != payload || o.ended == (r.Framing == FramingClose) {
			t.Fatalf("body of %q: got %+v, want %q", raw, o, payload)
		}
		for range 5 {
			if agreeOnResponse(t, method, []byte(m.damage(raw))) {
				damagedTaken++
			}
		}
	}
	if damagedTaken == 0 || damagedTaken > 4*rounds {
		t.Errorf("of %d damaged answers %d were taken: the damage shows nothing", 5*rounds, damagedTaken)
	}
}
