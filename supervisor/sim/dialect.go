package sim

import "strconv"

// Content types as FastAPI writes them.
const (
	typeSSE  = "text/event-stream; charset=utf-8"
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
)

const doneEvent = "data: [DONE]\n\n"

// errorEvent is what vLLM sends in a stream when its engine fails; the spaces are Python's.
const errorEvent = `data: {"error": {"message": "Internal server error", "type": "InternalServerError", "param": null, "code": 500}}` + "\n\n"

// Finish reasons; finishNone is the null of an event that does not end its choice.
const (
	finishNone   = ""
	finishStop   = "stop"
	finishLength = "length"
	finishAbort  = "abort"
)

// dialect writes the events and objects of one answer. Its strings are ready for the inside of a JSON string.
type dialect struct {
	question
	id, life string // life is the nonce
	created  int64  // seconds since 1970
}

// appendRole appends the event that vLLM sends once for each choice of a chat when the engine first answers.
func (d *dialect) appendRole(dst []byte, choice int) []byte {
	dst = d.appendEventHead(dst)
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendInt(dst, int64(choice), 10)
	dst = append(dst, `,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]`...)
	if d.usageEach {
		dst = d.appendUsage(dst, 0)
	}
	dst = append(dst, `,"system_fingerprint":"`...)
	dst = append(dst, d.life...)
	dst = append(dst, `","prompt_token_ids":`...)
	dst = d.appendPromptIDs(dst)
	return append(dst, "}\n\n"...)
}

// appendDelta appends an event with text (escaped) of a choice: its tokens from to end.
func (d *dialect) appendDelta(dst []byte, choice int, text []byte, finish string, from, end int) []byte {
	dst = d.appendEventHead(dst)
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendInt(dst, int64(choice), 10)
	if d.chat {
		dst = append(dst, `,"delta":{"content":"`...)
		dst = append(dst, text...)
		dst = append(dst, `"},"logprobs":null,"finish_reason":`...)
		dst = appendFinish(dst, finish)
		if finish != finishNone {
			dst = append(dst, `,"stop_reason":null`...)
		}
		dst = append(dst, `,"token_ids":`...)
	} else {
		dst = append(dst, `,"text":"`...)
		dst = append(dst, text...)
		dst = append(dst, `","logprobs":null,"finish_reason":`...)
		dst = appendFinish(dst, finish)
		dst = append(dst, `,"stop_reason":null,"prompt_token_ids":`...)
		if from == 0 {
			dst = d.appendPromptIDs(dst)
		} else {
			dst = append(dst, "null"...)
		}
		dst = append(dst, `,"token_ids":`...)
	}
	dst = append(d.appendTokenIDs(dst, choice, from, end), "}]"...)
	if d.usageEach {
		dst = d.appendUsage(dst, end)
	}
	return d.appendEventTail(dst)
}

// appendUsageEvent appends the event without choices that include_usage asks for.
func (d *dialect) appendUsageEvent(dst []byte, tokens int) []byte {
	dst = d.appendEventHead(dst)
	dst = append(dst, ']')
	return d.appendEventTail(d.appendUsage(dst, tokens))
}

// appendEventHead appends an event up to the bracket that opens its choices.
func (d *dialect) appendEventHead(dst []byte) []byte {
	object := "text_completion"
	if d.chat {
		object = "chat.completion.chunk"
	}
	return d.appendObjectHead(append(dst, "data: "...), object)
}

func (d *dialect) appendEventTail(dst []byte) []byte {
	dst = append(dst, `,"system_fingerprint":"`...)
	dst = append(dst, d.life...)
	return append(dst, `"}`+"\n\n"...)
}

func (d *dialect) appendObjectHead(dst []byte, object string) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, d.id...)
	dst = append(dst, `","object":"`...)
	dst = append(dst, object...)
	dst = append(dst, `","created":`...)
	dst = strconv.AppendInt(dst, d.created, 10)
	dst = append(dst, `,"model":"`...)
	dst = append(dst, d.model...)
	return append(dst, `","choices":[`...)
}

// appendUsage appends the usage field; vLLM puts the total before the completion's tokens.
func (d *dialect) appendUsage(dst []byte, tokens int) []byte {
	dst = append(dst, `,"usage":{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, int64(d.promptTokens), 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, int64(d.promptTokens+tokens), 10)
	dst = append(dst, `,"completion_tokens":`...)
	dst = strconv.AppendInt(dst, int64(tokens), 10)
	return append(dst, '}')
}

// appendPromptIDs appends the ids of the prompt's tokens, or null where nobody asked for them.
func (d *dialect) appendPromptIDs(dst []byte) []byte {
	if d.promptIDs == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '[')
	for i, id := range d.promptIDs {
		dst = appendID(dst, i, id)
	}
	return append(dst, ']')
}

// appendTokenIDs appends the ids of a choice's tokens from to end, its end token included, or null.
func (d *dialect) appendTokenIDs(dst []byte, choice, from, end int) []byte {
	if d.promptIDs == nil {
		return append(dst, "null"...)
	}
	tokens, _ := d.length(choice)
	dst = append(dst, '[')
	for k := from; k < end; k++ {
		id := endID
		if k < tokens {
			id = d.seed.piece(choice, k)
		}
		dst = appendID(dst, k-from, id)
	}
	return append(dst, ']')
}

// appendID appends number i of a list of ids.
func appendID(dst []byte, i, id int) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return strconv.AppendInt(dst, int64(id), 10)
}

// spoken is what one choice of a plain JSON answer holds.
type spoken struct {
	text   []byte // escaped
	tokens int    // the end token included
	finish string
}

// appendWhole appends the JSON object of an answer that is not streamed. tokens is the sum over all choices.
func (d *dialect) appendWhole(dst []byte, choices []spoken, tokens int) []byte {
	object := "text_completion"
	if d.chat {
		object = "chat.completion"
	}
	dst = d.appendObjectHead(dst, object)
	for i, choice := range choices {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"index":`...)
		dst = strconv.AppendInt(dst, int64(i), 10)
		if d.chat {
			dst = append(dst, `,"message":{"role":"assistant","content":"`...)
			dst = append(dst, choice.text...)
			dst = append(dst, `","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null}`...)
		} else {
			dst = append(dst, `,"text":"`...)
			dst = append(dst, choice.text...)
			dst = append(dst, '"')
		}
		dst = append(dst, `,"logprobs":null,"finish_reason":`...)
		dst = appendFinish(dst, choice.finish)
		dst = append(dst, `,"stop_reason":null,"token_ids":`...)
		dst = d.appendTokenIDs(dst, i, 0, choice.tokens)
		if !d.chat {
			dst = d.appendPromptIDs(append(dst, `,"prompt_logprobs":null,"prompt_token_ids":`...))
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"service_tier":null,"system_fingerprint":"`...)
	dst = append(dst, d.life...)
	dst = append(dst, '"')
	dst = d.appendUsage(dst, tokens)
	dst = append(dst[:len(dst)-1], `,"prompt_tokens_details":null}`...)
	if d.chat {
		dst = d.appendPromptIDs(append(dst, `,"prompt_logprobs":null,"prompt_token_ids":`...))
	}
	return append(dst, `,"kv_transfer_params":null}`...)
}

func appendFinish(dst []byte, finish string) []byte {
	if finish == finishNone {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = append(dst, finish...)
	return append(dst, '"')
}

// errorBody is the JSON of a refusal, as vLLM writes it.
func errorBody(status int, kind, message string) []byte {
	body := append([]byte(`{"error":{"message":"`), appendJSON(nil, message)...)
	body = append(body, `","type":"`...)
	body = append(body, kind...)
	body = append(body, `","param":null,"code":`...)
	body = strconv.AppendInt(body, int64(status), 10)
	return append(body, `}}`...)
}
