package http1

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// outcome is all that a body was found to be.
type outcome struct {
	data, trailers string
	ended, bad     bool
	rest           string // what follows the end
}

// follow gives in to b in pieces that end at cuts, as a relay would: what wasn't used comes again, with more behind it. Between the pieces it goes on from a copy, and what it left is spoilt.
func follow(t *testing.T, b Body, in string, cuts ...int) (o outcome) {
	t.Helper()
	judged := 0
	for _, end := range append(cuts, len(in)) {
		o.ended = false
		for more := false; !more; {
			input := []byte(in[judged:end])
			used, p, bad := b.Next(input)
			if bad != nil {
				if bad.Status != 400 || bad.Reason == "" {
					t.Fatalf("refused %q with %+v, want a 400 and a reason", in, bad)
				}
				o.bad = true
				return o
			}
			if used < 0 || used > len(input) || p.From < 0 || p.From > p.To || p.To > used {
				t.Fatalf("Next(%q) used %d and found %+v", input, used, p)
			}
			piece := string(input[p.From:p.To])
			judged += used
			switch p.Kind {
			case Data:
				o.data += piece
			case Trailer:
				o.trailers += piece
			case End:
				o.ended, o.rest = true, in[judged:]
				more = true
			case More:
				more = true
			}
			if (p.Kind == Data || p.Kind == Trailer) && piece == "" {
				t.Fatalf("Next(%q) found an empty %v", input, p.Kind)
			}
		}
		if o.ended != b.Ended() {
			t.Fatalf("found its end: %v; Ended: %v", o.ended, b.Ended())
		}
		checkpoint := b
		b = Body{step: stepMalformed, left: 77}
		b = checkpoint
	}
	return o
}

// followCut follows in whole, byte by byte, and cut at each byte, and makes sure that it is the same each time.
func followCut(t *testing.T, b Body, in string) outcome {
	t.Helper()
	whole := follow(t, b, in)
	same := func(how string, got outcome) {
		t.Helper()
		// Where a body is refused depends on the bytes alone; how much came out before is the same up to the cut.
		if whole.bad && got.bad {
			return
		}
		if got != whole {
			t.Fatalf("%q %s\n got %+v\nin one piece %+v", in, how, got, whole)
		}
	}
	var each []int
	for cut := range len(in) {
		each = append(each, cut)
		same(fmt.Sprintf("cut at %d", cut), follow(t, b, in, cut))
	}
	same("byte by byte", follow(t, b, in, each...))
	return whole
}

func TestBody(t *testing.T) {
	manyTrailers := strings.Repeat("a: b\r\n", MaxFields)
	longTrailer := "a: " + strings.Repeat("b", MaxTrailers-len("a: \r\n\r\n")) + "\r\n"
	for _, tt := range []struct {
		name    string
		framing Framing
		length  int64
		in      string
		want    outcome
	}{
		{"none", FramingNone, 0, "GET /", outcome{ended: true, rest: "GET /"}},
		{"no length", FramingLength, 0, "GET /", outcome{ended: true, rest: "GET /"}},
		{"a length", FramingLength, 5, "helloGET /", outcome{data: "hello", ended: true, rest: "GET /"}},
		{"a length, all of it", FramingLength, 5, "hello", outcome{data: "hello", ended: true}},
		{"a length, not all of it", FramingLength, 5, "hell", outcome{data: "hell"}},
		{"till close", FramingClose, 0, "hello\r\n0\r\n\r\n", outcome{data: "hello\r\n0\r\n\r\n"}},

		{"no chunk", FramingChunked, 0, "0\r\n\r\nGET /", outcome{ended: true, rest: "GET /"}},
		{"a chunk", FramingChunked, 0, "5\r\nhello\r\n0\r\n\r\n", outcome{data: "hello", ended: true}},
		{"chunks", FramingChunked, 0, "3\r\nhel\r\n000B\r\nlo hello wo\r\na\r\nrld hello \r\n000\r\n\r\n\r\n", outcome{data: "hello hello world hello ", ended: true, rest: "\r\n"}},
		{"payload that looks like framing", FramingChunked, 0, "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", outcome{data: "\r\n0\r\n\r\n", ended: true}},
		{"sixteen digits", FramingChunked, 0, "0000000000000001\r\nx\r\n0\r\n\r\n", outcome{data: "x", ended: true}},
		{"the greatest size, for now", FramingChunked, 0, "7fffffffffffffff\r\nxyz", outcome{data: "xyz"}},
		{"extensions", FramingChunked, 0, "1;a\r\nx\r\n1;b=\"c;d\";\t \xff\r\ny\r\n0;\r\n\r\n", outcome{data: "xy", ended: true}},
		{"the longest extension", FramingChunked, 0, "1;" + strings.Repeat("e", maxExtension-1) + "\r\nx\r\n0\r\n\r\n", outcome{data: "x", ended: true}},
		{"trailers", FramingChunked, 0, "0\r\nA: b\r\nc:\td \r\n\r\nrest", outcome{trailers: "A: b\r\nc:\td \r\n", ended: true, rest: "rest"}},
		{"many trailers", FramingChunked, 0, "0\r\n" + manyTrailers + "\r\n", outcome{trailers: manyTrailers, ended: true}},

		{"cut before the size", FramingChunked, 0, "", outcome{}},
		{"cut in the size", FramingChunked, 0, "5", outcome{}},
		{"cut in the chunk", FramingChunked, 0, "5\r\nhel", outcome{data: "hel"}},
		{"cut after the chunk", FramingChunked, 0, "5\r\nhello\r\n", outcome{data: "hello"}},
		{"cut before the last line", FramingChunked, 0, "5\r\nhello\r\n0\r\n", outcome{data: "hello"}},
		{"cut in the last line", FramingChunked, 0, "5\r\nhello\r\n0\r\n\r", outcome{data: "hello"}},
		{"cut in a trailer", FramingChunked, 0, "0\r\nA: b\r\nc: d\r", outcome{trailers: "A: b\r\n"}},

		{"bytes after a chunk", FramingChunked, 0, "5\r\nhello!\r\n0\r\n\r\n", outcome{bad: true}},
		{"nothing after a chunk", FramingChunked, 0, "5\r\nhello0\r\n\r\n", outcome{bad: true}},
		{"line feed after a chunk", FramingChunked, 0, "5\r\nhello\n0\r\n\r\n", outcome{bad: true}},
		{"one byte and a line feed after a chunk", FramingChunked, 0, "5\r\nhello!\n0\r\n\r\n", outcome{bad: true}},
		{"carriage return after a chunk", FramingChunked, 0, "5\r\nhello\r0\r\n\r\n", outcome{bad: true}},
		{"line feed after a size", FramingChunked, 0, "5\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"carriage return after a size", FramingChunked, 0, "5\rhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"empty size", FramingChunked, 0, "\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"extension for a size", FramingChunked, 0, ";a\r\n\r\n", outcome{bad: true}},
		{"+5", FramingChunked, 0, "+5\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"-5", FramingChunked, 0, "-5\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"0x5", FramingChunked, 0, "0x5\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"5_0", FramingChunked, 0, "5_0\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"g", FramingChunked, 0, "g\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"space before a size", FramingChunked, 0, " 5\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"space after a size", FramingChunked, 0, "5 \r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"space before an extension", FramingChunked, 0, "5 ;a\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"tab after a size", FramingChunked, 0, "5\t\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"seventeen digits", FramingChunked, 0, "00000000000000005\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"a size of 63 bits and one more", FramingChunked, 0, "8000000000000000\r\nhello", outcome{bad: true}},
		{"a size that comes round to 5", FramingChunked, 0, "10000000000000005\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"line feed in an extension", FramingChunked, 0, "5;a\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"carriage return in an extension", FramingChunked, 0, "5;a\rb\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"NUL in an extension", FramingChunked, 0, "5;\x00\r\nhello\r\n0\r\n\r\n", outcome{bad: true}},
		{"an extension one byte too long", FramingChunked, 0, "1;" + strings.Repeat("e", maxExtension) + "\r\nx\r\n0\r\n\r\n", outcome{bad: true}},

		{"bare line feed for a trailer", FramingChunked, 0, "0\r\n\n", outcome{bad: true}},
		{"bare line feed after a trailer", FramingChunked, 0, "0\r\na: b\n\r\n", outcome{bad: true}},
		{"bare carriage return in a trailer", FramingChunked, 0, "0\r\na: b\rc\r\n\r\n", outcome{bad: true}},
		{"NUL in a trailer", FramingChunked, 0, "0\r\na: \x00\r\n\r\n", outcome{bad: true}},
		{"folded trailer", FramingChunked, 0, "0\r\na: b\r\n c\r\n\r\n", outcome{bad: true}},
		{"trailer without a name", FramingChunked, 0, "0\r\n: b\r\n\r\n", outcome{bad: true}},
		{"trailer without a colon", FramingChunked, 0, "0\r\nGET / HTTP/1.1\r\n\r\n", outcome{bad: true}},
		{"space before a trailer's colon", FramingChunked, 0, "0\r\na : b\r\n\r\n", outcome{bad: true}},
		{"too many trailers", FramingChunked, 0, "0\r\n" + manyTrailers + "a: b\r\n\r\n", outcome{bad: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := followCut(t, NewBody(tt.framing, tt.length), tt.in)
			if tt.want.bad {
				got = outcome{bad: got.bad}
			}
			if got != tt.want {
				t.Errorf("%q\n got %+v\nwant %+v", tt.in, got, tt.want)
			}
		})
	}
	t.Run("the longest trailers", func(t *testing.T) {
		if got := follow(t, NewBody(FramingChunked, 0), "0\r\n"+longTrailer+"\r\n", 100, 1000); !got.ended || got.trailers != longTrailer {
			t.Errorf("%d bytes of trailers: got %.100v", len(longTrailer), got)
		}
	})
	t.Run("trailers that are one byte too long", func(t *testing.T) {
		if got := follow(t, NewBody(FramingChunked, 0), "0\r\nx"+longTrailer+"\r\n", 100, 1000); !got.bad {
			t.Errorf("%d bytes of trailers: got %.100v", len(longTrailer)+1, got)
		}
	})
	t.Run("a trailer whose end doesn't come", func(t *testing.T) {
		if got := follow(t, NewBody(FramingChunked, 0), "0\r\na: "+strings.Repeat("b", MaxTrailers)); !got.bad {
			t.Errorf("got %.100v, want it refused before its end", got)
		}
	})
}

func TestTrailersThatAreRefused(t *testing.T) {
	for _, name := range []string{
		"Content-Length", "transfer-encoding", "Trailer", "HOST", "content_length",
		"Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate", "Cookie", "Set-Cookie",
		"Content-Type", "Content-Encoding", "Content-Range",
		"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Upgrade", "Expect",
	} {
		if got := followCut(t, NewBody(FramingChunked, 0), "0\r\nA: b\r\n"+name+": 3\r\n\r\n"); !got.bad {
			t.Errorf("trailer %s: got %+v, want it refused", name, got)
		}
	}
}

// Chunks that are mostly extensions end the body, however long they go on; extensions beside payload don't.
func TestExtensionsAreOutweighedByPayload(t *testing.T) {
	ext := ";" + strings.Repeat("e", 199)
	mostly := strings.Repeat("1"+ext+"\r\nx\r\n", maxWaste/198+2)
	if got := follow(t, NewBody(FramingChunked, 0), mostly); !got.bad {
		t.Error("one byte of payload to 200 of extensions was taken for ever")
	}
	once := "1" + ext + "\r\nx\r\n" + strings.Repeat("1\r\nx\r\n", 1000)
	if got := follow(t, NewBody(FramingChunked, 0), once+"0\r\n\r\n"); !got.ended || len(got.data) != 1001 {
		t.Errorf("one extension and many chunks without: ended %v with %d bytes", got.ended, len(got.data))
	}
	beside := strings.Repeat("64"+ext+"\r\n"+strings.Repeat("x", 100)+"\r\n", 1000)
	if got := follow(t, NewBody(FramingChunked, 0), beside+"0\r\n\r\n"); !got.ended || len(got.data) != 100_000 {
		t.Errorf("100 bytes of payload to 200 of extensions: ended %v with %d bytes", got.ended, len(got.data))
	}
}

func TestMalformedBodyStaysMalformed(t *testing.T) {
	b := NewBody(FramingChunked, 0)
	if _, _, bad := b.Next([]byte("x")); bad == nil {
		t.Fatal("x was taken for a chunk size")
	}
	for _, in := range []string{"", "0\r\n\r\n"} {
		if used, p, bad := b.Next([]byte(in)); bad == nil || used != 0 {
			t.Errorf("then Next(%q) = %d, %+v, %v; want it refused", in, used, p, bad)
		}
	}
	if b.Ended() || b.AtClose() {
		t.Error("a malformed body has a clean end")
	}
}

func TestOnlyABodyTillCloseEndsAtClose(t *testing.T) {
	for framing := FramingNone; framing <= FramingClose; framing++ {
		b := NewBody(framing, 3)
		if got := b.AtClose(); got != (framing == FramingClose) {
			t.Errorf("%v: AtClose is %v", framing, got)
		}
		if got := b.Ended(); got != (framing == FramingNone) {
			t.Errorf("%v: Ended is %v before the first byte", framing, got)
		}
	}
}

func TestChunksThatWeWriteAreChunks(t *testing.T) {
	for _, n := range []int{1, 9, 10, 15, 16, 255, 4096, 70_000} {
		payload := strings.Repeat("p", n)
		in := string(AppendChunkSize([]byte("1\r\nx\r\n"), n)) + payload + "\r\n" + LastChunk + "A: b\r\n\r\n"
		want := outcome{data: "x" + payload, trailers: "A: b\r\n", ended: true}
		if got := follow(t, NewBody(FramingChunked, 0), in, 7, 8, 9); got != want {
			t.Errorf("a chunk of %d bytes isn't read as one", n)
		}
	}
}

// A Body lies in the arena, and is copied as a checkpoint; of the heads there is one a loop: no pointer, not large.
func TestStateIsPlainAndSmall(t *testing.T) {
	for _, tt := range []struct {
		of   any
		most uintptr
	}{{Body{}, 48}, {Request{}, 192}, {Response{}, 192}} {
		typ := reflect.TypeOf(tt.of)
		if typ.Size() > tt.most {
			t.Errorf("%v has %d bytes, want at most %d", typ, typ.Size(), tt.most)
		}
		if !isPlain(typ) {
			t.Errorf("%v has a pointer", typ)
		}
	}
}

func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			if !isPlain(f.Type) {
				return false
			}
		}
		return true
	case reflect.Array:
		return isPlain(t.Elem())
	case reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint64:
		return true
	default:
		return false
	}
}
