package check

import (
	"fmt"
	"strings"
)

// ask is one request: what is sent, and all that its answer depends on.
type ask struct {
	id        string // X-Request-Id, which comes back in the head and in each event
	kind      Kind
	tokens    int
	usage     bool // an event with the usage is asked for
	leave     int  // a Leaver goes after so many tokens
	prompt    prompt
	promptLen int
	head      string
	body      []byte
	chunked   bool // how the body is framed
	expects   bool // the body is sent only after 100 Continue
}

// compose makes the next request of a client. No two are alike, so that an answer can't be mistaken for another's.
func (c *client) compose() ask {
	c.asked++
	q := ask{
		kind: c.group.Kind, tokens: c.load.tokens(c), usage: c.rng.IntN(2) == 0,
		id: fmt.Sprintf("%s-%d-%d-%08x", c.group.Kind, c.number, c.asked, c.rng.Uint32()),
	}
	switches := c.group.Sim
	path := "/v1/chat/completions"
	switch q.kind {
	case Upload, Echo:
		path = "/sim/echo"
		if q.kind == Echo {
			path += "?back=1"
		}
		q.body = make([]byte, spread(c.rng, c.group.Body))
		filler(q.body, c.rng.Uint64())
		q.chunked = c.rng.IntN(2) == 0
		q.expects = q.kind == Upload && c.rng.IntN(2) == 0
	case Completion:
		path = "/v1/completions"
		q.say(q.id, fmt.Sprintf(`"prompt":"%s"`, q.id))
	case Image:
		image := make([]byte, spread(c.rng, c.group.Body))
		filler(image, c.rng.Uint64())
		url := "data:image/png;base64," + string(image)
		q.say("user:"+url+q.id+"\n",
			`"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"`+url+`"}},{"type":"text","text":"`+q.id+`"}]}]`)
	case Slow:
		if switches == "" {
			switches = slowPace
		}
		q.chat()
	case Leaver:
		q.leave = q.tokens / 2
		q.chat()
	default:
		q.chat()
	}
	if switches != "" {
		switches = "X-Sim: " + switches + "\r\n"
	}
	framing := fmt.Sprintf("Content-Length: %d", len(q.body))
	if q.chunked {
		framing = "Transfer-Encoding: chunked"
	}
	if q.expects {
		framing += "\r\nExpect: 100-continue"
	}
	host := c.load.opts.Address
	if strings.HasPrefix(host, "unix:") {
		host = "localhost" // as curl says it
	}
	q.head = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nX-Request-Id: %s\r\nContent-Type: application/json\r\n%s%s\r\n\r\n",
		path, host, q.id, switches, framing)
	return q
}

// chat asks with one short message.
func (q *ask) chat() {
	text := "Tap on the button of " + q.id
	q.say("user:"+text+"\n", `"messages":[{"role":"user","content":"`+text+`"}]`)
}

// say makes the body. prompt is the string of bytes that the answer's text depends on, by the worker's rule.
func (q *ask) say(prompt, field string) {
	q.prompt, q.promptLen = promptOf(prompt), len(prompt)
	options := ""
	if !q.kind.streamed() {
		q.usage = false // a plain answer has its usage always
	} else if options = `,"stream":true`; q.usage {
		options += `,"stream_options":{"include_usage":true}`
	}
	q.body = fmt.Appendf(nil, `{"model":"%s",%s,"max_tokens":%d%s}`, model, field, q.tokens, options)
}

// appendPiece appends a piece of the body in its framing.
func (q *ask) appendPiece(dst, piece []byte) []byte {
	if !q.chunked {
		return append(dst, piece...)
	}
	return fmt.Appendf(dst, "%x\r\n%s\r\n", len(piece), piece)
}
