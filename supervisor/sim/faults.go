package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// Fault is what goes wrong in one answer, at token Stream.AtToken of choice 0 (at the last token if the answer is
// shorter). In a plain JSON answer the cuts fall in the middle of the object, an error event is a whole 500, and
// early_end and no_done mean nothing.
type Fault string

// The faults of one answer.
const (
	FaultNone       Fault = ""
	FaultDrop       Fault = "drop"        // one byte of the text is missing
	FaultDouble     Fault = "double"      // one byte of the text comes twice
	FaultSwap       Fault = "swap"        // two neighbouring bytes of the text change places
	FaultMidChunk   Fault = "mid_chunk"   // half of the event, and half of its chunk, then FIN
	FaultReset      Fault = "reset"       // half of the event, then RST
	FaultFIN        Fault = "fin"         // FIN between two chunks: the body has no end
	FaultEarlyEnd   Fault = "early_end"   // the body ends in good form, without finish_reason and [DONE]
	FaultNoDone     Fault = "no_done"     // finish_reason, a good end of the body, but no [DONE]
	FaultAbort      Fault = "abort"       // finish_reason "abort", then [DONE], as vLLM does for what it gives up
	FaultErrorEvent Fault = "error_event" // an error event, then [DONE], as vLLM does when its engine fails
	FaultSilent     Fault = "silent"      // nothing more for ever; the connection stays
)

var faults = []Fault{
	FaultNone, FaultDrop, FaultDouble, FaultSwap, FaultMidChunk, FaultReset, FaultFIN, FaultEarlyEnd, FaultNoDone,
	FaultAbort, FaultErrorEvent, FaultSilent,
}

// Framing is how the end of an answer's body is told.
type Framing string

// The framings. An HTTP/1.0 request gets FramingClose for FramingChunked.
const (
	FramingUsual   Framing = "" // chunked for SSE, Content-Length for JSON, as vLLM
	FramingChunked Framing = "chunked"
	FramingLength  Framing = "length" // Content-Length, even for SSE
	FramingClose   Framing = "close"  // HTTP/1.1, the body ends with the connection
	FramingHTTP10  Framing = "http10" // the same with an HTTP/1.0 status line
)

var framings = []Framing{FramingUsual, FramingChunked, FramingLength, FramingClose, FramingHTTP10}

// Hang says what of the worker hangs.
type Hang string

// The hangs.
const (
	HangNone   Hang = ""
	HangEngine Hang = "engine" // /health is well, heads are sent, but no token moves: vLLM's blind spot. Lifted, tokens go on
	HangServer Hang = "server" // connections are accepted and nothing but /sim/ is ever answered, even after it is lifted
)

var hangs = []Hang{HangNone, HangEngine, HangServer}

// OnTerm is what SIGTERM does.
type OnTerm string

// The manners of ending. All leave at once where no request is open.
const (
	TermCut    OnTerm = "cut"    // vLLM 0.12: stop accepting, every open answer is cut where it is. The default
	TermAbort  OnTerm = "abort"  // vLLM since --shutdown-timeout: finish_reason "abort" and [DONE] for each, which looks like success
	TermFinish OnTerm = "finish" // uvicorn: stop accepting, let open answers end
	TermDrain  OnTerm = "drain"  // SGLang: /health turns 503 but requests are still admitted; leaves when none is open
	TermIgnore OnTerm = "ignore" // only SIGKILL helps
)

var termManners = []OnTerm{TermCut, TermAbort, TermFinish, TermDrain, TermIgnore}

// Duration is a time.Duration that is text in JSON: "1.5s".
type Duration time.Duration

// MarshalText writes the duration as time.Duration prints it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Stream is how one answer is given. Its keys in JSON are those of the X-Sim header.
type Stream struct {
	TokensPerSecond float64   `json:"tokens_per_second"` // of each choice; 0: as fast as the connection takes them
	TokensPerEvent  int       `json:"tokens_per_event"`  // more than 1: as with --stream-interval or speculative decoding
	Prefill         Duration  `json:"prefill"`           // from the request's end to the first token
	Fault           Fault     `json:"fault"`
	AtToken         int       `json:"at_token"` // where Fault strikes, from 0
	Framing         Framing   `json:"framing"`
	Interim         []int     `json:"interim"`      // 1xx answers before the head, in order: 100, 102, 103
	Trailers        bool      `json:"trailers"`     // chunked bodies end with x-sim-tokens and x-sim-life
	EarlyStatus     int       `json:"early_status"` // 400 to 599: answered at once, before the body is read. Then FIN and up to 1 s of reading
	EarlyReset      bool      `json:"early_reset"`  // the early answer is followed by close alone, so that unread bytes make it RST
	Malformed       Malformed `json:"malformed"`    // broken HTTP instead of the answer
}

// Faults are the switches that can be set while the worker runs. The zero value is not valid: see DefaultFaults.
type Faults struct {
	Stream

	// Every lets faults, framings and the like of Stream strike only each n-th request for an answer, so that the
	// others show whether they were touched. The X-Sim header always strikes.
	Every            int    `json:"every"`
	Hang             Hang   `json:"hang"`
	OnTerm           OnTerm `json:"on_term"`
	CrashAfterTokens int64  `json:"crash_after_tokens"` // tokens of the whole process from the moment this is set; 0: never
	CrashExit        int    `json:"crash_exit"`         // exit status of the crash, 0 to 255; -1: SIGKILL to itself

	// CrashOnPrompt is a marker: the process crashes at once where a request's prompt has it, before a byte of an answer.
	CrashOnPrompt string `json:"crash_on_prompt"`
	// Saturated is a full batch and a busy front: tokens of the answers that were there before flow on, those of later
	// ones wait until it is lifted, and what asks how the worker is gets no answer, ever.
	Saturated bool `json:"saturated"`
}

// DefaultFaults is a well worker: 50 tokens a second, no fault, TERM as vLLM 0.12.
func DefaultFaults() Faults {
	return Faults{
		Stream: Stream{TokensPerSecond: 50, TokensPerEvent: 1, AtToken: 3},
		Every:  1, OnTerm: TermCut, CrashExit: -1,
	}
}

// with is f with the switches of a JSON object changed. Unknown keys and values are refused.
func (f Faults) with(patch []byte) (Faults, error) {
	f.Interim = slices.Clone(f.Interim) // else json would write into the array that the old switches still use
	if err := decodeStrictly(patch, &f); err != nil {
		return f, err
	}
	return f, f.validate()
}

// with is s with the switches of a JSON object changed.
func (s Stream) with(patch []byte) (Stream, error) {
	s.Interim = slices.Clone(s.Interim)
	if err := decodeStrictly(patch, &s); err != nil {
		return s, err
	}
	return s, s.validate()
}

func decodeStrictly(object []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read switches: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read switches: more than one JSON value")
	}
	return nil
}

// paceOnly is s without anything that goes wrong: what a request gets that Every lets pass.
func (s Stream) paceOnly() Stream {
	well := DefaultFaults().Stream
	well.TokensPerSecond, well.TokensPerEvent, well.Prefill = s.TokensPerSecond, s.TokensPerEvent, s.Prefill
	return well
}

// interval is the time between two tokens of a choice.
func (s Stream) interval() time.Duration {
	if s.TokensPerSecond == 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / s.TokensPerSecond)
}

func (f Faults) validate() error {
	return errors.Join(
		f.Stream.validate(),
		outOf(f.Every < 1, "every", f.Every, "1 or more"),
		unknown("hang", f.Hang, hangs),
		unknown("on_term", f.OnTerm, termManners),
		outOf(f.CrashAfterTokens < 0, "crash_after_tokens", f.CrashAfterTokens, "0 or more"),
		outOf(f.CrashExit < -1 || f.CrashExit > 255, "crash_exit", f.CrashExit, "-1 to 255"),
	)
}

func (s Stream) validate() error {
	rate := s.TokensPerSecond
	badRate := math.IsNaN(rate) || rate < 0 || rate > 0 && (rate < 0.001 || rate > 1e6)
	var interim error
	for _, status := range s.Interim {
		interim = errors.Join(interim, outOf(status < 100 || status > 199 || status == 101, "interim", status, "1xx but 101"))
	}
	return errors.Join(
		interim,
		outOf(badRate, "tokens_per_second", rate, "0, or 0.001 to 1000000"),
		outOf(s.TokensPerEvent < 1 || s.TokensPerEvent > 1000, "tokens_per_event", s.TokensPerEvent, "1 to 1000"),
		outOf(s.Prefill < 0, "prefill", time.Duration(s.Prefill), "0s or more"),
		unknown("fault", s.Fault, faults),
		outOf(s.AtToken < 0, "at_token", s.AtToken, "0 or more"),
		unknown("framing", s.Framing, framings),
		outOf(s.EarlyStatus != 0 && (s.EarlyStatus < 400 || s.EarlyStatus > 599), "early_status", s.EarlyStatus, "0, or 400 to 599"),
		unknown("malformed", s.Malformed, malformedShapes()),
	)
}

func outOf(bad bool, name string, value any, want string) error {
	if !bad {
		return nil
	}
	return fmt.Errorf("%s: %v is not %s", name, value, want)
}

func unknown[T ~string](name string, value T, known []T) error {
	if slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is none of %q", name, value, known)
}

// corrupt harms one byte of text as fault says, at the first two neighbouring ASCII letters that differ.
func corrupt(text string, fault Fault) string {
	letter := func(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
	for i := range len(text) - 1 {
		a, b := text[i], text[i+1]
		if !letter(a) || !letter(b) || a == b {
			continue
		}
		pair := map[Fault]string{
			FaultDrop:   string(b),
			FaultDouble: string([]byte{a, a, b}),
			FaultSwap:   string([]byte{b, a}),
		}[fault]
		return text[:i] + pair + text[i+2:]
	}
	return text
}
