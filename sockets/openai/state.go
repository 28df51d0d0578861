// Package openai judges the streams of OpenAI's chat/completions and completions, as vLLM, SGLang and llama.cpp speak
// them: is this the end of a whole answer, or only the end of the bytes?
//
// A worker that is being stopped often ends its streams in a way that a client takes for success: a finish_reason of
// "abort" and then [DONE], an error in one event and then [DONE], or just a clean end of the body. SDKs don't look;
// they hand over half an answer. So each event passes State.Event before it is sent, and the relay withholds what would
// hide a cut, sends AppendErrorEvent instead and breaks the connection. An answer is complete when each choice that was
// seen has finished for a reason of its own (stop, length, a tool call, a content filter) and [DONE] followed.
//
// A token's event is not taken apart. A few byte searches show that it says nothing new (plain); only where they don't,
// one pass over its bytes stops at the keys that matter (readChunk), and only what would change the judgement is checked
// to be valid JSON. What is not valid changes nothing, and so can never complete an answer. No step allocates, unless a
// worker spells our keys with escapes or spreads an event's data over lines.
//
// A stream whose first data event is not of this dialect is never judged: its end is what the framing says.
package openai

import (
	"bytes"
	"encoding/json"

	"autoglm-sidecar/sockets/sse"
)

// MaxChoices is how many choices of one answer are told apart. A stream with more is not judged.
const MaxChoices = 64

// Judgement says what to do with one event.
type Judgement uint8

const (
	Forward    Judgement = iota // send it on: a token, a heartbeat, anything in a stream that is not judged
	Good                        // send it on: the [DONE] of a complete answer
	Abort                       // withhold it: a choice finished with abort, error or a reason that nobody knows
	ErrorEvent                  // withhold it: the worker reports an error
	Early                       // withhold it: a [DONE] although a choice has not finished
)

// Withhold reports whether the event must not reach the client: the answer is cut, here and for good.
func (j Judgement) Withhold() bool { return j == Abort || j == ErrorEvent || j == Early }

func (j Judgement) String() string {
	switch j {
	case Forward:
		return "forward"
	case Good:
		return "good"
	case Abort:
		return "abort"
	case ErrorEvent:
		return "error_event"
	case Early:
		return "early"
	}
	return "unknown judgement"
}

// Outcome is the judgement of a stream whose body has ended.
type Outcome uint8

const (
	Unjudged  Outcome = iota // not of this dialect: only the framing can tell
	Complete                 // each choice finished well, and [DONE] came
	Aborted                  // cut: an event was judged Abort
	Failed                   // cut: an event was judged ErrorEvent
	Truncated                // cut: [DONE] came too early, or never
)

// String returns the outcome in the words of status and metrics.
func (o Outcome) String() string {
	switch o {
	case Unjudged:
		return "unjudged"
	case Complete:
		return "complete"
	case Aborted:
		return "abort"
	case Failed:
		return "error_event"
	case Truncated:
		return "truncated"
	}
	return "unknown outcome"
}

// State is what was learnt of one stream so far: 24 bytes without a pointer, so a copy of it is a checkpoint. Its zero
// value is a stream that is not judged.
type State struct {
	seen     uint64 // a bit for each choice that an event spoke of
	finished uint64 // a bit for each choice that has finished well
	phase    phase
}

// phase is how far a stream has come. Only opening and answering look at events.
type phase uint8

const (
	unjudged  phase = iota
	opening         // no data event yet
	answering       // the first data event was of this dialect
	complete        // [DONE] was good; what follows is nobody's concern
	aborted         // an event was withheld, and so is everything after it
	failed
	early
)

// NewState returns the state of a stream of kind k of which no event has come. The events of Unknown are not judged.
func NewState(k Kind) State {
	if k == Unknown {
		return State{}
	}
	return State{phase: opening}
}

// Unjudge ends the judging, for a stream whose events can no longer be had whole (one is longer than the relay holds).
func (s *State) Unjudge() { s.phase = unjudged }

// Event judges one whole event, its blank line included, and remembers what it says. Once an event was to be withheld,
// so is each one after it.
func (s *State) Event(event []byte) Judgement {
	switch s.phase {
	case opening, answering:
		return s.judge(event)
	case unjudged, complete:
		return Forward
	case aborted:
		return Abort
	case failed:
		return ErrorEvent
	case early:
		return Early
	}
	return Forward
}

// End judges the stream when its body has ended. An event without its blank line counts as if it had not been sent, as
// it does for a client.
func (s *State) End() Outcome {
	switch s.phase {
	case unjudged:
		return Unjudged
	case complete:
		return Complete
	case aborted:
		return Aborted
	case failed:
		return Failed
	case opening, answering, early:
		return Truncated
	}
	return Unjudged
}

func (s *State) judge(event []byte) Judgement {
	if s.phase == answering && plain(event, s.seen) {
		return Forward
	}
	data, isError := read(event)
	if isError {
		s.phase = failed
		return ErrorEvent
	}
	if len(data) == 0 { // a comment, or fields that no SDK shows to anybody
		return Forward
	}
	if bytes.HasPrefix(data, []byte("[DONE]")) { // what follows on the line is ignored, as in the SDKs
		return s.done()
	}
	c := readChunk(data)
	if s.phase == answering && !c.matters(s) {
		return Forward
	}
	if !json.Valid(data) {
		c = chunk{}
	}
	switch {
	case c.isError:
		s.phase = failed
		return ErrorEvent
	case s.phase == opening && !c.isChunk, c.tooMany:
		s.phase = unjudged
		return Forward
	case c.badFinish:
		s.phase = aborted
		return Abort
	}
	s.phase = answering
	s.seen |= c.seen
	s.finished |= c.finished
	return Forward
}

// done judges a [DONE]. A [DONE] alone is no proof: vLLM sends one after each error too.
func (s *State) done() Judgement {
	if s.seen == 0 || s.seen != s.finished {
		s.phase = early
		return Early
	}
	s.phase = complete
	return Good
}

// read returns the data of an event, and whether its fields already say that it is an error: its type is "error", or it
// has a field of that name (llama.cpp wrote `error: {...}` until 2025, which SDKs skip without a word).
func read(event []byte) (data []byte, isError bool) {
	lines := 0
	for name, value := range sse.Fields(event) {
		switch string(name) {
		case "data":
			data = value
			lines++
		case "event":
			isError = string(value) == "error"
		case "error":
			return nil, true
		}
	}
	if lines > 1 {
		data = sse.Data(nil, event)
	}
	return data, isError
}
