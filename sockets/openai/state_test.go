package openai

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"autoglm-sidecar/sockets/sse"
)

// transcripts are whole streams as workers write them, in testdata, and what is to become of each: the outcome, and
// the judgement of the first event that the client must not see.
var transcripts = []struct {
	file    string
	outcome Outcome
	held    Judgement
}{
	{"vllm-chat", Complete, Forward},
	{"vllm-chat-usage", Complete, Forward},
	{"vllm-chat-two-choices", Complete, Forward},
	{"vllm-chat-tools", Complete, Forward},
	{"vllm-completions", Complete, Forward},
	{"sglang-chat", Complete, Forward},
	{"llamacpp-chat", Complete, Forward},
	{"spaced-chat", Complete, Forward},
	{"vllm-chat-abort", Aborted, Abort},
	{"vllm-chat-engine-dead", Failed, ErrorEvent},
	{"sglang-chat-error", Failed, ErrorEvent},
	{"sglang-chat-refused", Failed, ErrorEvent},
	{"llamacpp-chat-error", Failed, ErrorEvent},
	{"llamacpp-chat-error-field", Failed, ErrorEvent},
	{"event-error", Failed, ErrorEvent},
	{"vllm-chat-two-choices-one-lost", Truncated, Early},
	{"vllm-chat-no-finish", Truncated, Early},
	{"vllm-chat-no-done", Truncated, Forward},
	{"vllm-responses", Unjudged, Forward},
	{"llamacpp-native", Unjudged, Forward},
}

func readTranscript(t testing.TB, name string) []byte {
	t.Helper()
	stream, err := os.ReadFile(filepath.Join("testdata", name+".sse"))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// split cuts a stream into its whole events; an unfinished tail is dropped, as a client drops it.
func split(stream []byte) (events [][]byte) {
	var s sse.Scanner
	for {
		n := s.Next(stream)
		if n < 0 {
			if s.Whole() {
				events = append(events, stream)
			}
			return events
		}
		events, stream = append(events, stream[:n]), stream[n:]
	}
}

// judge gives the events to a new state and returns it with the judgement of each.
func judge(events [][]byte) (s State, judgements []Judgement) {
	s = NewState(Chat)
	for _, e := range events {
		judgements = append(judgements, s.Event(e))
	}
	return s, judgements
}

func TestTranscriptsOfWorkers(t *testing.T) {
	for _, c := range transcripts {
		t.Run(c.file, func(t *testing.T) {
			stream := readTranscript(t, c.file)
			for ends, stream := range map[string][]byte{
				"LF":   stream,
				"CRLF": []byte(strings.ReplaceAll(string(stream), "\n", "\r\n")),
				"CR":   []byte(strings.ReplaceAll(string(stream), "\n", "\r")),
			} {
				s, judgements := judge(split(stream))
				if s.End() != c.outcome {
					t.Errorf("with %s: %v, want %v", ends, s.End(), c.outcome)
				}
				held := Forward
				for _, j := range judgements {
					if j.Withhold() {
						held = j
						break
					}
				}
				if held != c.held {
					t.Errorf("with %s: first event withheld as %v, want %v; all: %v", ends, held, c.held, judgements)
				}
			}
		})
	}
}

func TestNoTranscriptWasForgotten(t *testing.T) {
	files, err := filepath.Glob("testdata/*.sse")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(transcripts) {
		t.Errorf("%d transcripts in testdata, %d in the table", len(files), len(transcripts))
	}
}

// The promise: wherever a stream is cut, it is not taken for a whole answer.
func TestNoPrefixOfAnAnswerIsComplete(t *testing.T) {
	for _, c := range transcripts {
		if c.outcome != Complete {
			continue
		}
		stream := readTranscript(t, c.file)
		for cut := range stream {
			if s, _ := judge(split(stream[:cut])); s.End() != Truncated {
				t.Fatalf("%s cut at byte %d of %d: %v, want truncated", c.file, cut, len(stream), s.End())
			}
		}
	}
}

// An answer whose last [DONE] comes after a hole must not pass either.
func TestAnAnswerWithoutOneOfItsFinishesIsNotComplete(t *testing.T) {
	for _, c := range transcripts {
		events := split(readTranscript(t, c.file))
		for i, e := range events {
			if c.outcome != Complete || readChunk(sse.Data(nil, e)).finished == 0 {
				continue
			}
			without := append(append([][]byte(nil), events[:i]...), events[i+1:]...)
			if s, _ := judge(without); s.End() != Truncated {
				t.Errorf("%s without event %d (%s): %v, want truncated", c.file, i, e, s.End())
			}
		}
	}
}

func TestACopyOfAStateIsACheckpoint(t *testing.T) {
	for _, c := range transcripts {
		events := split(readTranscript(t, c.file))
		whole, want := judge(events)
		for i := range events {
			s, _ := judge(events[:i])
			checkpoint := s
			s.Event([]byte("event: error\n\n")) // the original goes astray
			var got []Judgement
			for _, e := range events[i:] {
				got = append(got, checkpoint.Event(e))
			}
			if diff := cmp.Diff(want[i:], got); diff != "" || checkpoint != whole {
				t.Errorf("%s from event %d on (-want +got):\n%s\nstate %+v, want %+v", c.file, i, diff, checkpoint, whole)
			}
		}
	}
}

func TestAStateIsSmallAndPlain(t *testing.T) {
	if size := unsafe.Sizeof(State{}); size > 64 {
		t.Errorf("a state has %d bytes, want at most 64", size)
	}
	for f := range reflect.TypeFor[State]().Fields() {
		if k := f.Type.Kind(); k != reflect.Uint64 && k != reflect.Uint8 {
			t.Errorf("field %s is a %s: a checkpoint must be plain numbers", f.Name, k)
		}
	}
}

// token and done are events of a stream that has begun with token.
const (
	token = `{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	stop  = `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	done  = `[DONE]`
)

func TestWhatOneEventMeans(t *testing.T) {
	choice := func(members string) string { return `{"choices":[{"index":0,` + members + `}]}` }
	for _, c := range []struct {
		given string   // why this one matters
		data  []string // data of the events; one that ends with LF is an event as it is
		want  Judgement
		end   Outcome
	}{
		// Ends.
		{"nothing at all", nil, Forward, Truncated},
		{"only a heartbeat", []string{":\n\n"}, Forward, Truncated},
		{"a [DONE] alone", []string{done}, Early, Truncated},
		{"a [DONE] after tokens", []string{token, done}, Early, Truncated},
		{"a finish and a [DONE]", []string{token, stop, done}, Good, Complete},
		{"a finish in the only chunk", []string{stop, done}, Good, Complete},
		{"a finish with the last content", []string{token, choice(`"delta":{"content":"b"},"finish_reason":"length"`), done}, Good, Complete},
		{"a finish without a [DONE]", []string{token, stop}, Forward, Truncated},
		{"a [DONE] with something after it on its line", []string{stop, "[DONE] x"}, Good, Complete},
		{"a [DONE] with a space before it, which SDKs don't take", []string{stop, " [DONE]"}, Forward, Truncated},
		{"a [DONE] that is a value", []string{stop, `{"choices":[{"delta":{"content":"[DONE]"}}]}`}, Forward, Truncated},
		{"only a usage chunk and a [DONE]", []string{`{"choices":[],"usage":{}}`, done}, Early, Truncated},
		{"anything after the [DONE]", []string{stop, done, `{"error":{}}`, "[DONE]", "event: error\n\n"}, Forward, Complete},
		{"a finish twice", []string{stop, stop, done}, Good, Complete},
		{"abort after a finish", []string{stop, choice(`"finish_reason":"abort"`)}, Abort, Aborted},

		// Reasons.
		{"tool_calls", []string{choice(`"finish_reason":"tool_calls"`), done}, Good, Complete},
		{"function_call", []string{choice(`"finish_reason":"function_call"`), done}, Good, Complete},
		{"content_filter", []string{choice(`"finish_reason":"content_filter"`), done}, Good, Complete},
		{"vLLM's repetition", []string{choice(`"finish_reason":"repetition"`), done}, Good, Complete},
		{"abort", []string{token, choice(`"finish_reason":"abort"`)}, Abort, Aborted},
		{"abort at once", []string{choice(`"finish_reason":"abort"`)}, Abort, Aborted},
		{"error", []string{token, choice(`"finish_reason":"error"`)}, Abort, Aborted},
		{"a reason that nobody knows", []string{token, choice(`"finish_reason":"eos"`)}, Abort, Aborted},
		{"another case", []string{token, choice(`"finish_reason":"Stop"`)}, Abort, Aborted},
		{"no string", []string{token, choice(`"finish_reason":{"type":"stop"}`)}, Abort, Aborted},
		{"false", []string{token, choice(`"finish_reason":false`)}, Abort, Aborted},
		{"an empty one is none yet", []string{token, choice(`"finish_reason":""`), done}, Early, Truncated},
		{"null is none yet", []string{choice(`"finish_reason":null`), done}, Early, Truncated},
		{"white space around it", []string{token, choice("\"finish_reason\" \t: \"abort\" ")}, Abort, Aborted},
		{"the key in escapes", []string{token, choice(`"finish\u005freason":"abort"`)}, Abort, Aborted},
		{"the value in escapes", []string{choice(`"finish_reason":"\u0073top"`), done}, Good, Complete},
		{"the last of two counts", []string{choice(`"finish_reason":"stop","finish_reason":null`), done}, Early, Truncated},
		{"the last of two is abort", []string{token, choice(`"finish_reason":"stop","finish_reason":"abort"`)}, Abort, Aborted},
		{"once withheld, all is", []string{choice(`"finish_reason":"abort"`), stop, done}, Abort, Aborted},

		// What stands elsewhere does not count.
		{"a finish within a delta", []string{choice(`"delta":{"finish_reason":"stop"}`), done}, Early, Truncated},
		{"an abort within arguments", []string{choice(`"delta":{"tool_calls":[{"index":9,"args":{"finish_reason":"abort"}}]}`), stop, done}, Good, Complete},
		{"a finish in a text", []string{choice(`"text":"\"finish_reason\":\"stop\""`), done}, Early, Truncated},
		{"a text that is the key", []string{choice(`"text":"finish_reason"`), stop, done}, Good, Complete},
		{"a finish beside the choices", []string{`{"choices":[{"index":0}],"finish_reason":"stop"}`, done}, Early, Truncated},
		{"an error within a choice's text", []string{token, choice(`"delta":{"error":"x"}`)}, Forward, Truncated},
		{"the token error", []string{token, choice(`"delta":{"content":"error"}`), stop, done}, Good, Complete},
		{"a tool call's index is no choice", []string{token, choice(`"delta":{"tool_calls":[{"index":1}]}`), stop, done}, Good, Complete},

		// Choices.
		{"the second one unfinished", []string{token, `{"choices":[{"index":1,"delta":{}}]}`, stop, done}, Early, Truncated},
		{"both in one event, one unfinished", []string{`{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":null}]}`, done}, Early, Truncated},
		{"both in one event, finished", []string{`{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":"length"}]}`, done}, Good, Complete},
		{"both in one event, one aborted", []string{`{"choices":[{"index":0,"finish_reason":"abort"},{"index":1,"finish_reason":"length"}]}`}, Abort, Aborted},
		{"a hidden second one", []string{token, `{"choices":[{"index":0,"finish_reason":null},{"index":1}]}`, stop, done}, Early, Truncated},
		{"no index is the first", []string{`{"choices":[{"finish_reason":"stop"}]}`, done}, Good, Complete},
		{"no index, when only the second was seen", []string{`{"choices":[{"index":1,"finish_reason":"stop"}]}`, `{"choices":[{"finish_reason":null}]}`, done}, Early, Truncated},
		{"an index that is null", []string{`{"choices":[{"index":null,"finish_reason":"stop"}]}`, done}, Good, Complete},
		{"the last index", []string{`{"choices":[{"index":63,"finish_reason":"stop"}]}`, done}, Good, Complete},
		{"an index too many", []string{`{"choices":[{"index":64,"finish_reason":"stop"}]}`, done}, Forward, Unjudged},
		{"an index too many, later", []string{token, `{"choices":[{"index":100}]}`, done}, Forward, Unjudged},
		{"an index below zero", []string{token, `{"choices":[{"index":-1}]}`}, Forward, Unjudged},
		{"an index that is no integer", []string{token, `{"choices":[{"index":0.5}]}`}, Forward, Unjudged},
		{"an index that is a string", []string{token, `{"choices":[{"index":"0"}]}`}, Forward, Unjudged},
		{"a choice that is none", []string{token, `{"choices":[null,7,"x",[{"finish_reason":"abort"}]]}`, stop, done}, Good, Complete},
		{"a choice that is none is not the first", []string{`{"choices":[7]}`, `{"choices":[{"index":1,"finish_reason":"stop"}]}`, done}, Good, Complete},
		{"choices that are null", []string{`{"choices":null}`, stop, done}, Good, Complete},
		{"the last choices of two count", []string{`{"choices":[{"finish_reason":"stop"}],"choices":[]}`, done}, Early, Truncated},

		// Errors.
		{"an error object", []string{token, `{"error":{"message":"x"}}`}, ErrorEvent, Failed},
		{"an error at once", []string{`{"error":{"message":"x"}}`}, ErrorEvent, Failed},
		{"an error that is a text", []string{token, `{"error":"x"}`}, ErrorEvent, Failed},
		{"an error beside choices", []string{token, `{"choices":[{"index":0,"finish_reason":null}],"error":{"code":502}}`}, ErrorEvent, Failed},
		{"an error and white space", []string{token, `{"error" : {} }`}, ErrorEvent, Failed},
		{"the error's key in escapes", []string{token, `{"\u0065rror":{}}`}, ErrorEvent, Failed},
		{"an object that says error", []string{token, `{"object": "error","message":"x"}`}, ErrorEvent, Failed},
		{"an object that says error beside choices", []string{token, `{"object":"error","choices":[{"index":0}]}`}, ErrorEvent, Failed},
		{"an error that is null", []string{token, `{"error":null,"choices":[]}`, stop, done}, Good, Complete},
		{"an error that is empty", []string{token, `{"error":"","choices":[]}`, stop, done}, Good, Complete},
		{"an error that is false", []string{token, `{"error":false,"choices":[]}`, stop, done}, Good, Complete},
		{"an event of type error", []string{token, "event: error\ndata: {}\n\n"}, ErrorEvent, Failed},
		{"an event of type error, data first", []string{token, "data: " + token + "\nevent:error\n\n"}, ErrorEvent, Failed},
		{"an event of type error behind a CR", []string{token, "data: " + token + "\revent: error\n\n"}, ErrorEvent, Failed},
		{"an event of another type", []string{token, "event: errors\ndata: {}\n\n"}, Forward, Truncated},
		{"llama.cpp's field", []string{token, "error: {\"code\":500}\n\n"}, ErrorEvent, Failed},
		{"an error before an abort", []string{`{"error":{},"choices":[{"finish_reason":"abort"}]}`}, ErrorEvent, Failed},
		{"an error after a finish", []string{stop, `{"error":{}}`}, ErrorEvent, Failed},

		// The way an event is written.
		{"no space after the colon", []string{"data:" + stop + "\n\n", "data:[DONE]\n\n"}, Good, Complete},
		{"data on two lines", []string{"data: {\"choices\":[{\"finish_reason\":\ndata: \"stop\"}]}\n\n", done}, Good, Complete},
		{"an abort on two lines", []string{token, "data: {\"choices\":[{\"finish_reason\":\ndata: \"abort\"}]}\n\n"}, Abort, Aborted},
		{"an abort behind a CR", []string{token, "data: {\"choices\":[{\"finish_reason\":\rdata: \"abort\"}]}\n\n"}, Abort, Aborted},
		{"an id beside it", []string{"id: 7\ndata: " + stop + "\n\n", done}, Good, Complete},
		{"empty data", []string{"data:\n\n", stop, "data\n\n", done}, Good, Complete},
		{"fields without data", []string{"event: ping\n\n", "retry: 10\n\n", stop, done}, Good, Complete},

		// JSON that is none changes nothing.
		{"a finish in broken JSON", []string{token, `{"choices":[{"index":0,"finish_reason":"stop"}]`, done}, Early, Truncated},
		{"a finish in JSON with more behind it", []string{token, stop + "x", done}, Early, Truncated},
		{"a finish in a string that is never closed", []string{token, `{"choices":[{"index":0,"finish_reason":"stop`, done}, Early, Truncated},
		{"only a broken chunk", []string{`{"choices":[{"index":0,"finish_reason":"stop"}`, done}, Forward, Unjudged},
		{"nested very deep", []string{token, `{"a":` + strings.Repeat("[", 60000), stop, done}, Good, Complete},
		{"a finish nested deeper than Go reads", []string{token, `{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `,"choices":[{"finish_reason":"stop"}]}`, done}, Early, Truncated},

		// Other dialects.
		{"no choices", []string{`{"type":"response.created"}`, stop, `{"error":{}}`, done}, Forward, Unjudged},
		{"choices that are no list", []string{`{"choices":{}}`, done}, Forward, Unjudged},
		{"no object", []string{`"choices"`, done}, Forward, Unjudged},
		{"a number", []string{`7`}, Forward, Unjudged},
		{"no JSON", []string{`hello`, done}, Forward, Unjudged},
		{"no choices, once it has begun", []string{token, `{"id":"x"}`, `[]`, stop, done}, Good, Complete},
	} {
		var events [][]byte
		for _, d := range c.data {
			if !strings.HasSuffix(d, "\n") {
				d = "data: " + d + "\n\n"
			}
			events = append(events, []byte(d))
		}
		s, judgements := judge(events)
		last := Forward
		if len(judgements) > 0 {
			last = judgements[len(judgements)-1]
		}
		if last != c.want || s.End() != c.end {
			t.Errorf("%s: %v and %v, want %v and %v; all: %v", c.given, last, s.End(), c.want, c.end, judgements)
		}
		model := newReference()
		var want []Judgement
		for _, e := range events {
			want = append(want, model.event(e))
		}
		if diff := cmp.Diff(want, judgements); diff != "" || s.End() != model.end() {
			t.Errorf("%s: the reference ends with %v, we with %v; judgements (-reference +got):\n%s", c.given, model.end(), s.End(), diff)
		}
	}
}

func TestEachChoiceIsKeptApart(t *testing.T) {
	events := func(finished int) (events [][]byte) {
		for i := range MaxChoices {
			events = append(events, fmt.Appendf(nil, "data: {\"choices\":[{\"index\":%d,\"text\":\"a\"}]}\n\n", i))
		}
		for i := range finished {
			events = append(events, fmt.Appendf(nil, "data: {\"choices\":[{\"index\":%d,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n", i))
		}
		return append(events, []byte("data: [DONE]\n\n"))
	}
	if s, _ := judge(events(MaxChoices)); s.End() != Complete {
		t.Errorf("%d choices that finished: %v, want complete", MaxChoices, s.End())
	}
	if s, _ := judge(events(MaxChoices - 1)); s.End() != Truncated {
		t.Errorf("%d choices of which one did not finish: %v, want truncated", MaxChoices, s.End())
	}
}

func TestAStreamThatIsNotJudgedIsForwarded(t *testing.T) {
	for name, s := range map[string]State{"zero": {}, "unknown": NewState(Unknown)} {
		if j := s.Event([]byte("event: error\ndata: {\"error\":{}}\n\n")); j != Forward || s.End() != Unjudged {
			t.Errorf("%s: %v and %v, want forward and unjudged", name, j, s.End())
		}
	}
	s := NewState(Chat)
	s.Event([]byte("data: " + stop + "\n\n"))
	s.Unjudge()
	if j := s.Event([]byte("data: [DONE]\n\n")); j != Forward || s.End() != Unjudged {
		t.Errorf("after Unjudge: %v and %v, want forward and unjudged", j, s.End())
	}
}

func TestTheShortWayIsTakenForTokensAndAllocatesNothing(t *testing.T) {
	for _, delta := range []string{
		`"content":" Settings"`, `"content":": \"x\" \\ \n \u8bbe\u00e9"`, `"reasoning_content":"error: x"`, `"tool_calls":[{"index":0}]`,
	} {
		if !plain([]byte(vllmToken(delta)), 1) {
			t.Errorf("a token with %s takes the long way", delta)
		}
	}
	s := NewState(Chat)
	for _, delta := range []string{`"role":"assistant"`, `"content":"x"`, `"content":"error"`, `"tool_calls":[{"index":1}]`} {
		event := []byte(vllmToken(delta))
		if n := testing.AllocsPerRun(100, func() { s.Event(event) }); n != 0 {
			t.Errorf("%v allocations for a token with %s, want 0", n, delta)
		}
	}
}

func TestWordsOfJudgementsAndOutcomes(t *testing.T) {
	want := "forward good abort error_event early | unjudged complete abort error_event truncated"
	got := fmt.Sprint(Forward, " ", Good, " ", Abort, " ", ErrorEvent, " ", Early, " | ",
		Unjudged, " ", Complete, " ", Aborted, " ", Failed, " ", Truncated)
	if got != want {
		t.Errorf("words %q, want %q", got, want)
	}
}
