package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The oracle is net/http: what we take, it takes with the same meaning. Not the other way round: it takes much that we refuse.

// agreeOnRequest compares our reading of one request, head and body, with net/http's, and does the same for what the worker would get. It says whether we take the head.
func agreeOnRequest(t *testing.T, raw []byte) (taken bool) {
	t.Helper()
	end, bad := FindHeadEnd(raw, 0)
	if bad != nil || end == 0 {
		return false
	}
	head, body := raw[:end], string(raw[end:])
	var r Request
	if bad := ParseRequest(head, &r); bad != nil {
		return false
	}
	theirs, err := http.ReadRequest(reader(raw))
	if err != nil {
		t.Fatalf("we take %q, net/http doesn't: %v", raw, err)
	}
	type meaning struct {
		Method, Host, ID string
		Minor            int
		Length           int64
		Coding           []string
		Close            bool
		Header           http.Header
	}
	header := headerOf(head)
	id := ""
	for _, value := range header["X-Request-Id"] {
		if id == "" && fitRequestID([]byte(value)) {
			id = value
		}
	}
	ours := meaning{
		string(r.MethodName.Of(head)), string(r.Host.Of(head)), string(r.RequestID.Of(head)),
		int(r.Minor), lengthOf(r.Framing, r.Length, 0), codingOf(r.Framing), !r.KeepAlive, comparable(header),
	}
	want := meaning{theirs.Method, theirs.Host, id, theirs.ProtoMinor, theirs.ContentLength, theirs.TransferEncoding, theirs.Close, comparable(theirs.Header)}
	if r.authority != (Span{}) { // net/http takes the host from the target
		ours.Host, want.Host = strings.ToLower(ours.Host), strings.ToLower(want.Host)
	}
	if diff := cmp.Diff(want, ours); diff != "" || theirs.ProtoMajor != 1 {
		t.Fatalf("%q means to net/http (-) and to us (+)\n%s", raw, diff)
	}
	if rest := r.Target.Of([]byte(head)); !strings.HasSuffix(theirs.RequestURI, string(rest)) {
		t.Fatalf("target of %q: net/http %q, we %q", raw, theirs.RequestURI, rest)
	}
	agreeOnBody(t, NewBody(r.Framing, r.Length), body, theirs.Body, func() http.Header { return theirs.Trailer })

	if r.Method == MethodConnect {
		return true // never sent on
	}
	edited := AppendRequest(nil, head, &r, RequestEdit{RequestID: []byte("ours-1")})
	checkSentOn(t, head, edited, []string{"close"}, r.Framing)
	worker, err := http.ReadRequest(reader(append(bytes.Clone(edited), body...)))
	if err != nil {
		t.Fatalf("of %q the worker gets %q, which net/http refuses: %v", raw, edited, err)
	}
	path := theirs.URL.Path
	if path == "" {
		path = map[bool]string{true: "*", false: "/"}[r.Method == MethodOptions && theirs.URL.RawQuery == "" && !theirs.URL.ForceQuery]
	}
	type line struct {
		Method, Path, Query, Host string
		Proto                     string
		Length                    int64
	}
	wantLine := line{theirs.Method, path, theirs.URL.RawQuery, strings.ToLower(theirs.Host), "HTTP/1.1", theirs.ContentLength}
	gotLine := line{worker.Method, worker.URL.Path, worker.URL.RawQuery, strings.ToLower(worker.Host), worker.Proto, worker.ContentLength}
	if gotLine != wantLine || worker.URL.Host != "" {
		t.Fatalf("of %q the worker gets %q\n got %+v\nwant %+v", raw, edited, gotLine, wantLine)
	}
	agreeOnBody(t, NewBody(r.Framing, r.Length), body, worker.Body, func() http.Header { return worker.Trailer })
	agreeOnOrigin(t, head, edited, &r)
	return true
}

// agreeOnResponse does the same for an answer to a request with the given method, for clients of both versions.
func agreeOnResponse(t *testing.T, method string, raw []byte) (taken bool) {
	t.Helper()
	end, bad := FindHeadEnd(raw, 0)
	if bad != nil || end == 0 {
		return false
	}
	head, body := raw[:end], string(raw[end:])
	var r Response
	if bad := ParseResponse(head, methodOf([]byte(method)), &r); bad != nil {
		return false
	}
	asked := &http.Request{Method: method}
	theirs, err := http.ReadResponse(reader(raw), asked)
	if err != nil {
		t.Fatalf("we take %q, net/http doesn't: %v", raw, err)
	}
	type meaning struct {
		Status int
		Reason string
		Minor  int
		Length int64
		Coding []string
		Close  bool
		Header http.Header
	}
	_, reason, _ := strings.Cut(theirs.Status, " ")
	ours := meaning{r.Status, string(r.Reason.Of(head)), int(r.Minor), lengthOf(r.declared, r.Length, -1), codingOf(r.declared), !r.KeepAlive, comparable(headerOf(head))}
	want := meaning{theirs.StatusCode, reason, theirs.ProtoMinor, theirs.ContentLength, theirs.TransferEncoding, theirs.Close, comparable(theirs.Header)}
	if r.Framing == FramingNone && method != "HEAD" {
		ours.Length = 0
	}
	if diff := cmp.Diff(want, ours); diff != "" || theirs.ProtoMajor != 1 {
		t.Fatalf("%q means to net/http (-) and to us (+)\n%s", raw, diff)
	}
	found := agreeOnBody(t, NewBody(r.Framing, r.Length), body, theirs.Body, func() http.Header { return theirs.Trailer })

	for minor := range uint8(2) {
		for _, ends := range []bool{false, true} {
			if r.Status < 200 && (minor == 0 || ends) {
				continue
			}
			out := FramingOut(minor, methodOf([]byte(method)), &r)
			edited := AppendResponse(nil, head, &r, ResponseEdit{RequestID: []byte("ours-1"), Framing: out, Length: r.Length, Close: ends, ClientMinor: minor})
			var connection []string
			switch {
			case ends || out == FramingClose:
				connection = []string{"close"}
			case minor == 0:
				connection = []string{"keep-alive"}
			}
			framed := out
			if out == FramingNone && r.Status >= 200 && r.Status != 204 && (r.declared == FramingLength || minor > 0) {
				framed = r.declared
			}
			checkSentOn(t, head, edited, connection, framed)
			client, err := http.ReadResponse(reader(append(bytes.Clone(edited), reframe(out, found)...)), asked)
			if err != nil {
				t.Fatalf("of %q a client of 1.%d gets %q, which net/http refuses: %v", raw, minor, edited, err)
			}
			if client.StatusCode != r.Status || client.Proto != "HTTP/1.1" || minor == 0 && client.TransferEncoding != nil {
				t.Fatalf("of %q a client of 1.%d gets %q", raw, minor, edited)
			}
			if wantClose := len(connection) > 0 && connection[0] == "close"; client.Close != wantClose {
				t.Fatalf("of %q a client of 1.%d gets %q: close is %v, want %v", raw, minor, edited, client.Close, wantClose)
			}
			data, err := io.ReadAll(client.Body)
			if whole := found.ended || out == FramingClose; string(data) != found.data || whole != (err == nil) {
				t.Fatalf("of %q a client of 1.%d gets the body %q, %v; want %q, whole: %v", raw, minor, data, err, found.data, whole)
			}
			if out == FramingChunked && found.ended {
				if diff := cmp.Diff(trailersOf(found.trailers), filled(client.Trailer)); diff != "" {
					t.Fatalf("trailers of %q (-) and to a client of 1.%d (+)\n%s", raw, minor, diff)
				}
			}
		}
	}
	return true
}

// agreeOnBody compares what we find in a body, which may be unfinished or malformed, with what net/http reads from the same bytes.
func agreeOnBody(t *testing.T, b Body, raw string, theirs io.Reader, trailer func() http.Header) outcome {
	t.Helper()
	atClose := b.AtClose()
	ours := follow(t, b, raw)
	data, err := io.ReadAll(theirs)
	switch {
	case ours.bad:
		if !strings.HasPrefix(string(data), ours.data) {
			t.Fatalf("before we refused %q we read %q, net/http %q", raw, ours.data, data)
		}
		return ours
	case string(data) != ours.data:
		t.Fatalf("body of %q: net/http reads %q (%v), we %q", raw, data, err, ours.data)
	case (err == nil) != (ours.ended || atClose):
		t.Fatalf("end of %q: net/http says %v, we say ended: %v", raw, err, ours.ended)
	}
	if ours.ended {
		if diff := cmp.Diff(filled(trailer()), trailersOf(ours.trailers)); diff != "" {
			t.Fatalf("trailers of %q to net/http (-) and to us (+)\n%s", raw, diff)
		}
	}
	return ours
}

// reframe sends on a body that was read: in one chunk and the trailers where it goes out in chunks, without its end if that wasn't there.
func reframe(out Framing, o outcome) []byte {
	var b []byte
	if out != FramingChunked {
		return append(b, o.data...)
	}
	if o.data != "" {
		b = AppendChunkSize(b, len(o.data))
		b = append(append(b, o.data...), "\r\n"...)
	}
	if o.ended {
		b = append(append(append(b, LastChunk...), o.trailers...), "\r\n"...)
	}
	return b
}

// checkSentOn makes sure, in another way than the edit's own, that the lines between the end points are in edited as they are in head, byte for byte and in their order, and that the others
// are there as often as they should be.
func checkSentOn(t *testing.T, head, edited []byte, connection []string, framed Framing) {
	t.Helper()
	ownLines := []string{"connection", "keep-alive", "proxy-connection", "te", "upgrade", "expect", "x-request-id", "content-length", "transfer-encoding"}
	if framed != FramingChunked {
		ownLines = append(ownLines, "trailer")
	}
	passed := func(b []byte, but []string) (lines []string, others map[string][]string) {
		others = map[string][]string{}
		for line := range strings.SplitSeq(string(b[bytes.Index(b, []byte("\r\n"))+2:len(b)-2]), "\r\n") {
			name, value, _ := strings.Cut(line, ":")
			name = strings.ToLower(name)
			if slices.Contains(but, name) {
				others[name] = append(others[name], strings.Trim(value, " \t"))
			} else if line != "" {
				lines = append(lines, line)
			}
		}
		return lines, others
	}
	_, others := passed(head, []string{"connection"})
	named := strings.Split(strings.ToLower(strings.Join(others["connection"], ",")), ",")
	for i := range named {
		named[i] = strings.Trim(named[i], " \t")
	}
	want, _ := passed(head, append(named, ownLines...))
	got, others := passed(edited, ownLines)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("of %q (-) is sent on (+)\n%s", head, diff)
	}
	delete(others, "trailer")
	wantOthers := map[string][]string{"x-request-id": {"ours-1"}}
	if connection != nil {
		wantOthers["connection"] = connection
	}
	switch framed {
	case FramingLength:
		wantOthers["content-length"] = others["content-length"]
		if len(others["content-length"]) != 1 {
			t.Fatalf("%q has not one length", edited)
		}
	case FramingChunked:
		wantOthers["transfer-encoding"] = []string{"chunked"}
	case FramingNone, FramingClose:
	}
	if diff := cmp.Diff(wantOthers, others); diff != "" {
		t.Fatalf("of %q lines of ours should be (-) and are (+)\n%s", head, diff)
	}
}

func reader(raw []byte) *bufio.Reader {
	return bufio.NewReaderSize(bytes.NewReader(raw), max(4096, len(raw)+1)) // net/http wants whole trailers in its buffer
}

// headerOf reads the field lines of a head that we took.
func headerOf(head []byte) http.Header {
	header := http.Header{}
	for at := bytes.IndexByte(head, '\n') + 1; head[at] != '\r'; {
		l, _ := fieldLineAt(head, at)
		header.Add(string(l.name.Of(head)), string(l.value.Of(head)))
		at = l.next
	}
	return header
}

// comparable leaves out what net/http takes out of a header or puts in.
func comparable(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Host", "Transfer-Encoding", "Trailer", "Connection"} {
		h.Del(name)
	}
	if h.Get("Pragma") == "no-cache" {
		h.Del("Cache-Control")
	}
	return h
}

func trailersOf(lines string) http.Header {
	header := http.Header{}
	for line := range strings.SplitSeq(strings.TrimSuffix(lines, "\r\n"), "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			header.Add(name, strings.Trim(value, " \t"))
		}
	}
	return header
}

// filled leaves out trailers that were only named.
func filled(h http.Header) http.Header {
	header := http.Header{}
	for name, values := range h {
		if values != nil {
			header[name] = values
		}
	}
	return header
}

// lengthOf is what net/http says about a length.
func lengthOf(f Framing, length, unknown int64) int64 {
	switch f {
	case FramingLength:
		return length
	case FramingChunked:
		return -1
	case FramingNone, FramingClose:
	}
	return unknown
}

func codingOf(f Framing) []string {
	if f == FramingChunked {
		return []string{"chunked"}
	}
	return nil
}
