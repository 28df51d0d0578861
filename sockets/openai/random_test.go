package openai

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// writer writes JSON at random that is made of what matters here, in every place, spelling and spacing.
type writer struct {
	*rand.Rand
	strings.Builder
}

func (w *writer) pick(from ...string) { w.WriteString(from[w.IntN(len(from))]) }

func (w *writer) space() {
	if w.IntN(8) == 0 {
		w.pick(" ", "\t", "  ")
	}
}

func (w *writer) scalar() {
	w.pick("null", "null", "0", "0", "1", "2", "63", "64", "-1", "1.5", "true", "false", `""`, `"stop"`, `"stop"`, `"length"`,
		`"abort"`, `"error"`, `"x: \"index\":3"`, `"\\"`, `"\\\""`, `"finish_reason"`, `"st\u006fp"`, `"\u8bbe\u00e9"`, `"{[:,"`)
}

func (w *writer) value(depth int) {
	switch {
	case depth == 0 || w.IntN(3) > 0:
		w.scalar()
	case w.IntN(2) == 0:
		w.object(depth-1, nil)
	default:
		w.array(depth-1, func() { w.value(depth - 1) })
	}
}

func (w *writer) list(open, closing byte, item func()) {
	w.WriteByte(open)
	for i := range w.IntN(4) {
		if i > 0 {
			w.WriteByte(',')
		}
		w.space()
		item()
		w.space()
	}
	w.WriteByte(closing)
}

func (w *writer) array(depth int, element func()) {
	if depth < 0 {
		w.WriteString("[]")
		return
	}
	w.list('[', ']', element)
}

// object writes an object; choices, if given, writes the value of its "choices".
func (w *writer) object(depth int, choices func()) {
	if depth < 0 {
		w.WriteString("{}")
		return
	}
	w.list('{', '}', func() {
		kind := w.IntN(12)
		if choices != nil && kind < 6 {
			w.pick(`"choices"`, `"choices"`, `"choices"`, `"choice\u0073"`)
		} else {
			w.pick(`"index"`, `"index"`, `"finish_reason"`, `"finish_reason"`, `"delta"`, `"error"`, `"object"`, `"a\"b"`,
				`"i\u006edex"`, `"finish_reaso\u006E"`, `"\u0065rror"`, `"\\index"`, `"Index"`)
		}
		w.space()
		w.WriteByte(':')
		w.space()
		if choices != nil && kind < 6 {
			choices()
		} else {
			w.value(depth)
		}
	})
}

// chunk returns an event whose data is such a chunk; now and then a byte is missing.
func (w *writer) chunk() []byte {
	w.Reset()
	w.WriteString("data: ")
	w.object(3, func() {
		w.array(3, func() {
			if w.IntN(8) == 0 {
				w.value(2)
			} else {
				w.object(2, nil)
			}
		})
	})
	event := []byte(w.String())
	if w.IntN(6) == 0 {
		at := len("data: ") + w.IntN(len(event)-len("data: "))
		event = slices.Delete(event, at, at+1)
	}
	return append(event, "\n\n"...)
}

// A fuzzer that starts from bytes seldom gets at a valid chunk that is strange. Here nearly all are.
func TestStrangeChunksAreJudgedAsByTheReference(t *testing.T) {
	w := &writer{Rand: rand.New(rand.NewPCG(1, 2))}
	met, short := map[Outcome]int{}, 0
	const streams = 4000
	for range streams {
		s, model := NewState(Chat), newReference()
		var events [][]byte
		if w.IntN(2) == 0 {
			events = append(events, []byte("data: "+stop+"\n\n"))
		}
		for range 1 + w.IntN(3) {
			events = append(events, w.chunk())
		}
		for _, event := range append(events, []byte("data: [DONE]\n\n")) {
			if s.phase == answering && plain(event, s.seen) {
				short++
			}
			if got, want := s.Event(event), model.event(event); got != want {
				t.Fatalf("%q after %q: %v, want %v", event, events, got, want)
			}
		}
		if got, want := s.End(), model.end(); got != want {
			t.Fatalf("%q ends with %v, want %v", events, got, want)
		}
		met[s.End()]++
	}
	for _, o := range []Outcome{Unjudged, Complete, Aborted, Failed, Truncated} {
		if met[o] < streams/100 {
			t.Errorf("only %d of %d streams ended with %v: the test has lost its way", met[o], streams, o)
		}
	}
	if short < streams/100 {
		t.Errorf("only %d events took the short way: the test has lost its way", short)
	}
}
