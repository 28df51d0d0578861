package openai

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reference judges as State does, slowly: it takes each event to pieces and believes in nothing but encoding/json.
type reference struct {
	begun          bool
	verdict        Judgement // of the event that was withheld, or Good after [DONE]
	unjudged       bool
	seen, finished map[string]bool
}

func newReference() *reference {
	return &reference{seen: map[string]bool{}, finished: map[string]bool{}}
}

func (r *reference) event(event []byte) Judgement {
	switch {
	case r.unjudged, r.verdict == Good:
		return Forward
	case r.verdict != Forward:
		return r.verdict
	}
	r.verdict = r.judge(event)
	return r.verdict
}

func (r *reference) end() Outcome {
	switch {
	case r.unjudged:
		return Unjudged
	case r.verdict == Good:
		return Complete
	case r.verdict == Abort:
		return Aborted
	case r.verdict == ErrorEvent:
		return Failed
	}
	return Truncated
}

var lineEnd = regexp.MustCompile(`\r\n|\r|\n`)

func (r *reference) judge(event []byte) Judgement {
	eventType := ""
	var lines []string
	for _, line := range lineEnd.Split(string(event), -1) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			eventType = value
		case "error":
			return ErrorEvent
		case "data":
			lines = append(lines, value)
		}
	}
	data := strings.Join(lines, "\n")
	switch {
	case eventType == "error":
		return ErrorEvent
	case data == "":
		return Forward
	case strings.HasPrefix(data, "[DONE]"):
		if len(r.seen) == 0 || len(r.seen) != len(r.finished) {
			return Early
		}
		return Good
	}
	return r.chunk(data)
}

var (
	smallIndex  = regexp.MustCompile(`^([0-9]|[1-5][0-9]|6[0-3])$`)
	goodReasons = []any{"stop", "length", "tool_calls", "function_call", "content_filter", "repetition"}
)

func (r *reference) chunk(data string) Judgement {
	var top map[string]json.RawMessage
	if json.Unmarshal([]byte(data), &top) != nil {
		top = nil
	}
	if e := decode(top["error"]); e != nil && e != false && e != "" {
		return ErrorEvent
	}
	if decode(top["object"]) == "error" {
		return ErrorEvent
	}
	raw, ok := top["choices"]
	choices, isList := decode(raw).([]any)
	if !r.begun && (!ok || !isList && decode(raw) != nil) {
		r.unjudged = true
		return Forward
	}
	var list []json.RawMessage
	if isList {
		if json.Unmarshal(raw, &list) != nil || len(list) != len(choices) {
			panic("encoding/json does not agree with itself")
		}
	}
	seen, finished, aborted := map[string]bool{}, map[string]bool{}, false
	for i, c := range list {
		if _, isObject := choices[i].(map[string]any); !isObject {
			continue
		}
		var choice map[string]json.RawMessage
		if json.Unmarshal(c, &choice) != nil {
			panic("encoding/json does not agree with itself")
		}
		index := string(choice["index"])
		if index == "" || index == "null" {
			index = "0"
		}
		if !smallIndex.MatchString(index) {
			r.unjudged = true
			return Forward
		}
		seen[index] = true
		switch reason := decode(choice["finish_reason"]); {
		case reason == nil, reason == "":
		case slices.ContainsFunc(goodReasons, func(good any) bool {
			s, isString := reason.(string)
			return isString && s == good
		}):
			finished[index] = true
		default:
			aborted = true
		}
	}
	if aborted {
		return Abort
	}
	if ok {
		r.begun = true
	}
	for index := range seen {
		r.seen[index] = true
	}
	for index := range finished {
		r.finished[index] = true
	}
	return Forward
}

// decode returns a JSON value as Go has it, and nil for nothing.
func decode(raw json.RawMessage) any {
	var v any
	if len(raw) > 0 && json.Unmarshal(raw, &v) != nil {
		panic("encoding/json does not agree with itself")
	}
	return v
}

// FuzzState: on any stream, State says of each event and of the end what the reference says.
func FuzzState(f *testing.F) {
	for _, c := range transcripts {
		f.Add(readTranscript(f, c.file))
	}
	f.Add([]byte("data: " + token + "\n\ndata: {\"choices\":[{\"index\" : 0,\"finish_reason\" : \"abort\"}]}\n\n"))
	f.Add([]byte("data: " + token + "\n\ndata: {\"choices\":[{\"finish\\u005freason\":\"stop\"}]}\n\ndata: [DONE]\n\n"))
	f.Add([]byte("data: " + stop + "\n\ndata: {\"error\" : \"x\"}\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		s, model := NewState(Chat), newReference()
		for i, event := range split(stream) {
			if got, want := s.Event(event), model.event(event); got != want {
				t.Fatalf("event %d, %q: %v, want %v", i, event, got, want)
			}
		}
		if got, want := s.End(), model.end(); got != want {
			t.Fatalf("end: %v, want %v", got, want)
		}
	})
}

// FuzzChunk: the same for a chunk that comes when choices 0 and 1 are known and the second has finished. It reaches
// much deeper into JSON than a fuzzer that has to find out about events first.
func FuzzChunk(f *testing.F) {
	for _, c := range transcripts {
		for _, event := range split(readTranscript(f, c.file)) {
			if data, found := bytes.CutPrefix(event, []byte("data: ")); found {
				f.Add(bytes.TrimSpace(data))
			}
		}
	}
	for _, chunk := range []string{
		`{"choices":[{"index":0,"finish_reason":"stop"},{"index":2}],"choices":[{"index":0,"index":1}]}`,
		`{"choices" : [ { "index" : 0 , "finish_reason" : "stop" } ] , "error" : false , "object" : "error" }`,
		`{"choices":[{"\u0069ndex":2,"finish_reason":"\u0073top"}],"a":"\\u0065\"error\":1"}`,
		`{"choices":[[],{},"\"index\":3",{"index":01},{"index":1e0}],"object":{"error":1}}`,
	} {
		f.Add([]byte(chunk))
	}
	f.Fuzz(func(t *testing.T, chunk []byte) {
		s, model := NewState(Chat), newReference()
		events := [][]byte{
			[]byte("data: " + `{"choices":[{"index":0},{"index":1,"finish_reason":"stop"}]}` + "\n\n"),
			slices.Concat([]byte("data: "), lineEnd.ReplaceAll(chunk, []byte(" ")), []byte("\n\n")),
			[]byte("data: " + stop + "\n\n"),
			[]byte("data: " + done + "\n\n"),
		}
		var got, want []Judgement
		for _, event := range events {
			got, want = append(got, s.Event(event)), append(want, model.event(event))
		}
		if diff := cmp.Diff(want, got); diff != "" || s.End() != model.end() {
			t.Fatalf("%s ends with %v, want %v; judgements (-want +got):\n%s", events[1], s.End(), model.end(), diff)
		}
	})
}
