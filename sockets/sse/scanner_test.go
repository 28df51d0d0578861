package sse

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// streams are the inputs of every test here, and the seeds of both fuzz targets.
var streams = []string{
	"",
	"\n",
	"\r",
	"\r\n",
	"\r\r",
	"\n\r\n\r",
	":\n\n",
	": keep-alive\n\n:\n\n",
	"data: one\n\n",
	"data: one\n\ndata: two\n\n",
	"data: one\n\n\ndata: two\n\n\n",
	"data: one\r\n\r\ndata: two\r\n\r\n",
	"data: one\r\rdata: two\r\r",
	"data: one\r\r\n\ndata: two\r\n\n",
	"data: one\n\rdata: two\n\r\n",
	"data: one\r\n\rdata: two\r\r\n",
	"data: a\ndata: b\r\ndata\rdata:\n\n",
	"data:no space\n\ndata:  two spaces\n\ndata\n\ndata :x\n\n",
	"event: error\ndata: {\"error\":{}}\nid: 7\nretry: 10\n\n",
	": comment: with colon\ndata: x: y\n\n",
	"data: {\"id\":\"1\",\"choices\":[]}\n\ndata: [DONE]\n\n",
	"data: no end",
	"data: no end\n",
	"data: no end\r",
	"data: no end\r\n",
	"data: whole, but for its LF\r\n\r",
	"\xef\xbb\xbfdata: x\n\n",
	"data: \x00\xff\n\n",
	strings.Repeat("x", 3*window) + "\n\n" + strings.Repeat("y", window-1) + "\r\r" + strings.Repeat("z", window) + "\r\n\r\nz",
	strings.Repeat("\r", 3*window),
	"data: " + strings.Repeat("x", 2*window) + "\ndata: y\rdata: " + strings.Repeat("z", 2*window) + "\rdata: e\n\n",
}

// scan gives the pieces to a scanner one after another and returns it with the ends it found, counted from the start.
func scan(pieces ...[]byte) (s Scanner, ends []int) {
	at := 0
	for _, p := range pieces {
		for {
			n := s.Next(p)
			if n < 0 {
				break
			}
			at += n
			p = p[n:]
			ends = append(ends, at)
		}
		at += len(p)
	}
	return s, ends
}

// expectation is what the reference says of a stream.
type expectation struct {
	Ends           []int
	Between, Whole bool
}

func expect(stream []byte) expectation {
	e := expectation{Ends: referenceEnds(stream)}
	last := 0
	if len(e.Ends) > 0 {
		last = e.Ends[len(e.Ends)-1]
	}
	e.Between = last == len(stream)
	// One more byte that is no LF shows whether the tail was a whole event.
	e.Whole = !e.Between && slices.Contains(referenceEnds(append(slices.Clone(stream), 'x')), len(stream))
	return e
}

func found(s Scanner, ends []int) expectation {
	return expectation{Ends: ends, Between: s.Between(), Whole: s.Whole()}
}

func TestEventsEndAtTheSameBytesHoweverTheStreamIsCut(t *testing.T) {
	for _, stream := range streams {
		stream := []byte(stream)
		want := expect(stream)
		for cut := range len(stream) + 1 {
			// A copy taken at the cut goes on; the one it was taken from is then led astray and must not matter.
			first, before := scan(stream[:cut])
			second := first
			first.Next([]byte("x\r\r\r"))
			for p, at := stream[cut:], cut; ; {
				n := second.Next(p)
				if n < 0 {
					break
				}
				at, p = at+n, p[n:]
				before = append(before, at)
			}
			if got := found(second, before); !reflect.DeepEqual(got, want) {
				t.Fatalf("%.100q cut at %d (-want +got):\n%s", stream, cut, cmp.Diff(want, got))
			}
		}
	}
}

func TestEventsEndAtTheSameBytesGivenOneByteAtATime(t *testing.T) {
	for _, stream := range streams {
		got := found(scan(slices.Collect(slices.Chunk([]byte(stream), 1))...))
		if diff := cmp.Diff(expect([]byte(stream)), got); diff != "" {
			t.Errorf("%.100q (-want +got):\n%s", stream, diff)
		}
	}
}

func TestAnEndWithCRWaitsForTheByteAfterIt(t *testing.T) {
	var s Scanner
	if n := s.Next([]byte("data: x\r\r")); n != -1 || s.Between() || !s.Whole() {
		t.Fatalf("after the CR: end %d, between %v, whole %v; want -1, false, true", n, s.Between(), s.Whole())
	}
	withLF, without := s, s
	if n := withLF.Next([]byte("\ndata: y")); n != 1 {
		t.Errorf("an LF after it: end at %d, want 1", n)
	}
	if n := without.Next([]byte("data: y")); n != 0 {
		t.Errorf("no LF after it: end at %d, want 0", n)
	}
	if !withLF.Between() || !without.Between() {
		t.Error("not between events after the end")
	}
}

func TestAScannerIsAPlainValue(t *testing.T) {
	if size := unsafe.Sizeof(Scanner{}); size > 8 {
		t.Errorf("a scanner has %d bytes, want at most 8", size)
	}
	for f := range reflect.TypeFor[Scanner]().Fields() {
		if k := f.Type.Kind(); k != reflect.Uint8 {
			t.Errorf("field %s is a %s: a checkpoint must be plain bytes", f.Name, k)
		}
	}
}

// openai-python and openai-node hand on an event for anything but comments, and then fail to read its data.
func TestAHeartbeatIsNothingButAComment(t *testing.T) {
	s, ends := scan([]byte(Heartbeat))
	if !s.Between() || len(ends) != 1 {
		t.Errorf("a heartbeat is %d events and between them after it: %v; want 1, true", len(ends), s.Between())
	}
	for name := range Fields([]byte(Heartbeat)) {
		t.Errorf("a heartbeat has a field %q", name)
	}
}

func TestScanningAllocatesNothing(t *testing.T) {
	p := []byte(strings.Join(streams, ""))
	if n := testing.AllocsPerRun(10, func() { countEnds(p) }); n != 0 {
		t.Errorf("%v allocations a scan, want 0", n)
	}
	event := []byte("event: x\ndata: y\n\n")
	if n := testing.AllocsPerRun(10, func() {
		for range Fields(event) {
		}
		Data(nil, event)
	}); n != 0 {
		t.Errorf("%v allocations for fields and data of an event, want 0", n)
	}
}

func TestFieldsAndDataOfAnEvent(t *testing.T) {
	type field struct{ Name, Value string }
	for _, c := range []struct {
		event  string
		fields []field
		data   string
		none   bool
	}{
		{event: ":\n\n", none: true},
		{event: "\n", none: true},
		{event: "event: ping\n\n", fields: []field{{"event", "ping"}}, none: true},
		{event: "data: x\n\n", fields: []field{{"data", "x"}}, data: "x"},
		{event: "data:x\r\n\r\n", fields: []field{{"data", "x"}}, data: "x"},
		{event: "data:  x \r\r", fields: []field{{"data", " x "}}, data: " x "},
		{event: "data\n\n", fields: []field{{"data", ""}}},
		{event: "data:\n\n", fields: []field{{"data", ""}}},
		{event: "data: \n\n", fields: []field{{"data", ""}}},
		{event: "data\ndata\n\n", fields: []field{{"data", ""}, {"data", ""}}, data: "\n"},
		{event: "data: a\n: b\ndata: c\rdata:d\r\n\r\n", fields: []field{{"data", "a"}, {"data", "c"}, {"data", "d"}}, data: "a\nc\nd"},
		{event: "error: {\"a\":1}\n\n", fields: []field{{"error", `{"a":1}`}}, none: true},
		{event: "datax: y\n data: z\nDATA: z\n\n", fields: []field{{"datax", "y"}, {" data", "z"}, {"DATA", "z"}}, none: true},
		{event: "id: 1\nevent: e\ndata: {\"k\": \"v\"}\n\n", fields: []field{{"id", "1"}, {"event", "e"}, {"data", `{"k": "v"}`}}, data: `{"k": "v"}`},
	} {
		var got []field
		for name, value := range Fields([]byte(c.event)) {
			got = append(got, field{string(name), string(value)})
		}
		if diff := cmp.Diff(c.fields, got); diff != "" {
			t.Errorf("fields of %q (-want +got):\n%s", c.event, diff)
		}
		data := Data(nil, []byte(c.event))
		if string(data) != c.data || (data == nil) != c.none {
			t.Errorf("data of %q: %q (none: %v), want %q (none: %v)", c.event, data, data == nil, c.data, c.none)
		}
	}
}

func TestFieldsMayBeLeftEarly(t *testing.T) {
	for name := range Fields([]byte("a: 1\nb: 2\n\n")) {
		if string(name) != "a" {
			t.Fatalf("field %q came after the loop was left", name)
		}
		break
	}
}

func TestDataOfOneLineIsNotCopiedAndOfSeveralGoesToDst(t *testing.T) {
	event := []byte("data: abc\n\n")
	data := Data(nil, event)
	event[6] = 'X'
	if string(data) != "Xbc" {
		t.Errorf("data is %q: a copy, want the event's own bytes", data)
	}
	dst := make([]byte, 3, 64)
	data = Data(dst, []byte("data: a\ndata: b\n\n"))
	if string(data) != "a\nb" || &data[0] != &dst[0] {
		t.Errorf("data is %q, in dst: %v; want a LF b in dst", data, &data[0] == &dst[0])
	}
}
