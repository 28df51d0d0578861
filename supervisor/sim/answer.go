package sim

import (
	"slices"
	"strconv"
	"time"
)

// answer is one answer to a chat or completions request as a plain state machine: next gives the bytes of one write
// after the other and due says when. It knows no socket and no clock. Its owner is the pacer.
type answer struct {
	dialect
	way     Stream
	framing Framing // resolved: never FramingUsual
	closes  bool    // the connection ends with the answer
	http10  bool    // so the client asked
	length  int     // of the whole body, for FramingLength of a stream

	phase    phase
	choices  []choice
	turn     int           // the choice whose event is next
	k        int           // the first token of that event
	total    int           // tokens sent, of all choices
	came     time.Duration // when the question was there, on the pacer's clock
	base     time.Duration // when token 0 is due, on the pacer's clock
	armed    bool          // the fault is still to come
	at       int           // the token where it comes
	muted    bool          // [DONE] is left out
	silent   bool          // nothing more, unless the worker ends
	aborting bool
	text     []byte // scratch
	event    []byte // scratch
}

// choice is how far one choice is. Its slots are its tokens and, if it ends by itself, the end token.
type choice struct {
	tokens, slots, said int
	over                bool
}

// phase is what an answer sends next.
type phase uint8

const (
	phaseHead phase = iota // of a plain JSON answer: everything
	phaseRole
	phaseTokens
	phaseUsage
	phaseDone
	phaseLast // the end of the body
)

// move says what follows the bytes that next gave.
type move uint8

const (
	moveOn     move = iota // more of the answer
	moveEnd                // nothing: the answer is whole
	moveCut                // the connection is closed
	moveReset              // the connection is reset
	moveSilent             // nothing, and the connection stays
)

// newAnswer prepares the answer to a question that came at now.
func newAnswer(d dialect, way Stream, http10, closes bool, now time.Duration) *answer {
	a := &answer{
		dialect: d, way: way, http10: http10, came: now, base: now + time.Duration(way.Prefill),
		framing: way.Framing, choices: make([]choice, d.question.choices), armed: way.Fault != FaultNone,
	}
	for i := range a.choices {
		tokens, stop := d.question.length(i)
		a.choices[i] = choice{tokens: tokens, slots: tokens}
		if stop {
			a.choices[i].slots++
		}
	}
	a.at = min(way.AtToken, a.choices[0].tokens-1)
	switch {
	case a.framing == FramingUsual && !a.stream:
		a.framing = FramingLength
	case a.framing == FramingUsual:
		a.framing = FramingChunked
	}
	if a.framing == FramingChunked && http10 {
		a.framing = FramingClose
	}
	a.closes = closes || http10 || a.framing == FramingClose || a.framing == FramingHTTP10
	if a.stream && a.framing == FramingLength {
		a.length = a.bodyLength()
	}
	return a
}

// bodyLength runs a copy of the answer to its end and counts.
func (a *answer) bodyLength() int {
	b := *a
	b.choices = slices.Clone(a.choices)
	b.framing, b.phase = FramingClose, b.firstPhase()
	b.way.Malformed = ""
	switch b.way.Fault {
	case FaultMidChunk, FaultReset, FaultFIN, FaultSilent:
		b.armed = false // these cut a body whose length was announced whole
	default:
	}
	total := 0
	for {
		bytes, move := b.next(nil)
		total += len(bytes)
		if move != moveOn {
			return total
		}
	}
}

// firstPhase is what follows the head of a stream: a completion has no role chunk.
func (a *answer) firstPhase() phase {
	if a.chat {
		return phaseRole
	}
	return phaseTokens
}

// paced says whether the next bytes are work of the simulated engine, so that a hanging engine keeps them back.
func (a *answer) paced() bool {
	switch a.phase {
	case phaseRole, phaseTokens:
		return true
	case phaseHead:
		return !a.stream && a.way.Malformed == ""
	case phaseUsage, phaseDone, phaseLast:
	}
	return false
}

// due is when the next bytes are to be sent, on the pacer's clock.
func (a *answer) due() time.Duration {
	switch {
	case !a.paced() || a.aborting:
		return 0
	case a.stream:
		return a.base + time.Duration(a.k)*a.way.interval()
	}
	longest := 0
	for i := range a.choices {
		longest = max(longest, a.choices[i].slots)
	}
	return a.base + time.Duration(longest-1)*a.way.interval()
}

// resume puts the schedule forward after a hang, so that tokens go on at their pace and not in one burst.
func (a *answer) resume(now time.Duration) {
	if late := now - a.due(); late > 0 {
		a.base += late
	}
}

// abort makes the answer end as vLLM ends it on TERM: with finish_reason "abort" where it is at now.
func (a *answer) abort(now time.Duration) {
	a.aborting = true
	if a.stream {
		return
	}
	for i := range a.choices {
		c := &a.choices[i]
		if step := a.way.interval(); step > 0 && now >= a.base {
			c.said = min(int((now-a.base)/step)+1, c.slots-1)
		}
	}
}

// next appends the bytes of the next write to dst.
func (a *answer) next(dst []byte) ([]byte, move) {
	switch {
	case a.silent && !a.aborting:
		return dst, moveSilent
	case a.way.Malformed != "":
		return append(dst, malformedBytes(a.way.Malformed)...), moveCut
	case !a.stream:
		return a.whole(dst)
	}
	switch a.phase {
	case phaseHead:
		a.phase = a.firstPhase()
		return a.appendStreamHead(dst), moveOn
	case phaseRole:
		a.event = a.appendRole(a.event[:0], a.turn)
		if a.turn++; a.turn == len(a.choices) {
			a.turn, a.phase = 0, phaseTokens
		}
		return a.appendFramed(dst, a.event), moveOn
	case phaseTokens:
		return a.nextTokens(dst)
	case phaseUsage:
		a.phase = phaseDone
		a.event = a.appendUsageEvent(a.event[:0], a.total)
		return a.appendFramed(dst, a.event), moveOn
	case phaseDone:
		a.phase = phaseLast
		if !a.muted {
			return a.appendFramed(dst, []byte(doneEvent)), moveOn
		}
	case phaseLast:
	}
	return a.appendBodyEnd(dst), moveEnd
}

// nextTokens appends the event of the choice whose turn it is, with the fault if this is its place.
func (a *answer) nextTokens(dst []byte) ([]byte, move) {
	if a.aborting {
		return a.appendFramed(dst, a.tokenEvent(nil, 0, finishAbort)), moveOn
	}
	c := &a.choices[a.turn]
	end := min(a.k+a.way.TokensPerEvent, c.slots)
	fault := FaultNone
	if a.armed && a.turn == 0 && a.k <= a.at && a.at < end {
		fault, a.armed = a.way.Fault, false
	}
	switch fault {
	case FaultAbort:
		a.aborting = true
		return a.nextTokens(dst)
	case FaultErrorEvent:
		a.phase = phaseDone
		return a.appendFramed(dst, []byte(errorEvent)), moveOn
	case FaultEarlyEnd:
		a.phase = phaseLast
		return a.next(dst)
	case FaultFIN:
		return dst, moveCut
	case FaultSilent:
		a.silent = true
		return dst, moveSilent
	case FaultNoDone:
		a.muted = true
	case FaultNone, FaultDrop, FaultDouble, FaultSwap, FaultMidChunk, FaultReset:
	}
	a.text = a.appendText(a.text[:0], a.turn, a.k, end, fault)
	event := a.tokenEvent(a.text, end-a.k, c.finish(end))
	begin := len(dst)
	dst = a.appendFramed(dst, event)
	half := begin + (len(dst)-begin)/2
	switch fault {
	case FaultMidChunk:
		return dst[:half], moveCut
	case FaultReset:
		return dst[:half], moveReset
	default:
		return dst, moveOn
	}
}

// tokenEvent builds the event with the next tokens of the choice whose turn it is, and passes the turn on.
func (a *answer) tokenEvent(text []byte, tokens int, finish string) []byte {
	c := &a.choices[a.turn]
	a.event = a.appendDelta(a.event[:0], a.turn, text, finish, c.said, c.said+tokens)
	c.said += tokens
	a.total += tokens
	c.over = finish != finishNone
	for range a.choices { // to the next that is not over
		if a.turn++; a.turn == len(a.choices) {
			a.turn = 0
			a.k += a.way.TokensPerEvent
		}
		if !a.choices[a.turn].over {
			return a.event
		}
	}
	if a.phase = phaseDone; a.usage {
		a.phase = phaseUsage
	}
	return a.event
}

// reason is with what an answer that has ended did: the finish reason of its first choice.
func (a *answer) reason() string {
	if a.aborting {
		return finishAbort
	}
	return a.choices[0].finish(a.choices[0].said)
}

// finish is the reason with which a choice ends once it said that many slots.
func (c *choice) finish(said int) string {
	switch {
	case said < c.slots:
		return finishNone
	case c.slots > c.tokens:
		return finishStop
	default:
		return finishLength
	}
}

// appendText appends the tokens from to end of a choice, escaped, with one byte harmed if fault says so.
func (a *answer) appendText(dst []byte, choice, from, end int, fault Fault) []byte {
	harms := choice == 0 && (fault == FaultDrop || fault == FaultDouble || fault == FaultSwap)
	for k := from; k < min(end, a.choices[choice].tokens); k++ {
		piece := a.seed.piece(choice, k)
		if harms && k == a.at {
			dst = appendJSON(dst, corrupt(pieces[piece], fault))
		} else {
			dst = append(dst, escaped[piece]...)
		}
	}
	return dst
}

// whole appends a plain JSON answer, all in one.
func (a *answer) whole(dst []byte) ([]byte, move) {
	var fault Fault
	if a.armed && !a.aborting {
		fault, a.armed = a.way.Fault, false
	}
	switch fault {
	case FaultSilent:
		a.silent = true
		return dst, moveSilent
	case FaultErrorEvent:
		return a.appendBody(dst, 500, errorBody(500, "InternalServerError", "Internal server error")), moveEnd
	case FaultAbort:
		a.aborting = true
		for i := range a.choices {
			a.choices[i].said = min(a.at, a.choices[i].slots-1)
		}
	default: // the others leave the object whole, or are done to its text or to its bytes
	}
	said := make([]spoken, len(a.choices))
	for i := range a.choices {
		c := &a.choices[i]
		if !a.aborting {
			c.said = c.slots
		}
		said[i] = spoken{text: a.appendText(nil, i, 0, c.said, fault), tokens: c.said, finish: c.finish(c.said)}
		if a.aborting {
			said[i].finish = finishAbort
		}
		a.total += c.said
	}
	body := a.appendWhole(nil, said, a.total)
	begin := len(dst)
	dst = a.appendBody(dst, 200, body)
	half := max(begin, len(dst)-len(body)/2)
	switch fault {
	case FaultMidChunk, FaultFIN:
		return dst[:half], moveCut
	case FaultReset:
		return dst[:half], moveReset
	default:
		return dst, moveEnd
	}
}

// appendBody appends head and body of a plain JSON answer in the answer's framing.
func (a *answer) appendBody(dst []byte, status int, body []byte) []byte {
	dst = a.appendAnswerHead(dst, status, typeJSON, len(body))
	return a.appendBodyEnd(a.appendFramed(dst, body))
}

func (a *answer) appendStreamHead(dst []byte) []byte {
	return a.appendAnswerHead(dst, 200, typeSSE, a.length)
}

// appendAnswerHead appends the interim answers and the head. uvicorn puts connection and transfer-encoding last.
func (a *answer) appendAnswerHead(dst []byte, status int, contentType string, length int) []byte {
	proto := "HTTP/1.1"
	if a.framing == FramingHTTP10 {
		proto = "HTTP/1.0"
	}
	if !a.http10 {
		for _, interim := range a.way.Interim {
			dst = appendInterim(dst, interim)
		}
	}
	var fields []string
	if a.framing == FramingLength {
		fields = append(fields, "content-length", strconv.Itoa(length))
	}
	fields = append(fields, "content-type", contentType)
	if a.trailers() {
		fields = append(fields, "trailer", "x-sim-tokens, x-sim-life")
	}
	if a.closes && a.framing != FramingHTTP10 {
		fields = append(fields, "connection", "close")
	}
	if a.framing == FramingChunked {
		fields = append(fields, "transfer-encoding", "chunked")
	}
	return appendHead(dst, proto, status, time.Unix(a.created, 0), fields...)
}

func (a *answer) trailers() bool { return a.way.Trailers && a.framing == FramingChunked }

// appendFramed appends a piece of the body.
func (a *answer) appendFramed(dst, data []byte) []byte {
	if a.framing == FramingChunked {
		return appendChunk(dst, data)
	}
	return append(dst, data...)
}

// appendBodyEnd appends what ends the body: nothing where length or close tell it.
func (a *answer) appendBodyEnd(dst []byte) []byte {
	if a.framing != FramingChunked {
		return dst
	}
	dst = append(dst, "0\r\n"...)
	if a.trailers() {
		dst = append(dst, "x-sim-tokens: "...)
		dst = strconv.AppendInt(dst, int64(a.total), 10)
		dst = append(dst, "\r\nx-sim-life: "...)
		dst = append(dst, a.life...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
