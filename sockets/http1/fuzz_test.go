package http1

import (
	"net/http"
	"testing"
)

func FuzzRequestHead(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw []byte) {
		agreeOnRequest(t, raw)
	})
}

func FuzzResponseHead(f *testing.F) {
	f.Fuzz(func(t *testing.T, toHEAD bool, raw []byte) {
		agreeOnResponse(t, map[bool]string{true: "HEAD", false: "POST"}[toHEAD], raw)
	})
}

// FuzzBody takes the bytes of a body: cut anywhere they mean the same, and net/http reads the same from them.
func FuzzBody(f *testing.F) {
	f.Fuzz(func(t *testing.T, framing uint8, length uint16, cut uint16, raw string) {
		b := NewBody(Framing(framing%4), int64(length))
		whole := follow(t, b, raw)
		first := int(cut) % (len(raw) + 1)
		second := first + int(cut/7)%(len(raw)-first+1)
		got := follow(t, b, raw, first, second)
		if got != whole && !(got.bad && whole.bad) {
			t.Fatalf("%q cut at %d and %d\n got %+v\nin one piece %+v", raw, first, second, got, whole)
		}
		if len(raw) < 64 {
			followCut(t, b, raw)
		}
		if Framing(framing%4) != FramingChunked {
			return
		}
		theirs, err := http.ReadRequest(reader([]byte("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)))
		if err != nil {
			t.Fatal(err)
		}
		agreeOnBody(t, b, raw, theirs.Body, func() http.Header { return theirs.Trailer })
	})
}
