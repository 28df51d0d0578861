package openai

// chunk is what one data event says that matters for the judgement.
type chunk struct {
	isChunk   bool   // it has choices, even if none of them
	isError   bool   // it reports an error
	tooMany   bool   // it speaks of a choice that a State cannot hold
	badFinish bool   // a choice finished, but not because its answer was whole
	seen      uint64 // the choices it speaks of
	finished  uint64 // those of them that finished well
}

// matters reports whether the chunk can change an answering stream's state.
func (c *chunk) matters(s *State) bool {
	return c.isError || c.tooMany || c.badFinish || c.seen&^s.seen != 0 || c.finished&^s.finished != 0
}

// readChunk reads one JSON text, an object if it is a chunk. Of a text that is not valid it may say anything, and the
// caller has to ask json.Valid before it believes. Where a key stands twice the last one counts, as for each client.
func readChunk(text []byte) chunk {
	var c chunk
	var isError, objectIsError bool
	r := reader{text: text}
	for r.enter('{'); r.more('}'); {
		switch string(r.key()) {
		case "choices":
			c = r.choices()
		case "error":
			isError = saysError(r.value())
		case "object":
			objectIsError = string(content(r.value())) == "error"
		default:
			r.value()
		}
	}
	c.isError = isError || objectIsError
	return c
}

// saysError reports whether the value of a chunk's "error" is one. Some servers send an empty one with each token.
func saysError(value []byte) bool {
	switch string(value) {
	case "", "null", "false", `""`:
		return false
	}
	return true
}

// choices reads the value of "choices".
func (r *reader) choices() chunk {
	if !r.enter('[') {
		return chunk{isChunk: string(r.value()) == "null"}
	}
	c := chunk{isChunk: true}
	for r.more(']') {
		if r.enter('{') {
			r.choice(&c)
		} else {
			r.value()
		}
	}
	return c
}

// choice reads one choice, whose brace was entered, into c. Only its own keys count: a tool call has an "index" too,
// and anything may stand in its arguments.
func (r *reader) choice(c *chunk) {
	bit, finish := uint64(1), notYet
	for r.more('}') {
		switch string(r.key()) {
		case "index":
			bit = choiceBit(r.value())
		case "finish_reason":
			finish = endingOf(r.value())
		default:
			r.value()
		}
	}
	c.seen |= bit
	if bit == 0 {
		c.tooMany = true
	}
	switch finish {
	case notYet:
	case well:
		c.finished |= bit
	case badly:
		c.badFinish = true
	}
}

// choiceBit returns the bit of the choice with this index, or 0 if a State has none for it.
func choiceBit(index []byte) uint64 {
	switch {
	case string(index) == "null":
		return 1
	case len(index) == 1 && isDigit(index[0]):
		return 1 << (index[0] - '0')
	case len(index) == 2 && isDigit(index[0]) && isDigit(index[1]):
		if n := 10*int(index[0]-'0') + int(index[1]-'0'); n < MaxChoices {
			return 1 << n
		}
	}
	return 0
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// ending is what a finish_reason says of its choice.
type ending uint8

const (
	notYet ending = iota
	well
	badly
)

// endingOf judges the value of a "finish_reason". The good ones are OpenAI's, and "repetition", with which vLLM ends
// an answer that runs in circles, if the request asked for that. An empty one is how some servers write null.
func endingOf(value []byte) ending {
	if string(value) == "null" {
		return notYet
	}
	reason := content(value)
	if reason == nil {
		return badly
	}
	switch string(reason) {
	case "":
		return notYet
	case "stop", "length", "tool_calls", "function_call", "content_filter", "repetition":
		return well
	}
	return badly
}
