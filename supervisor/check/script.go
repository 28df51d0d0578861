package check

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// script is what the worker must write in answer to one request: a number of events, of which each can be foretold once the
// first has shown the two things that only the worker knows, the time of the answer and the nonce of its life. The layout is
// vLLM's, as supervisor/sim's package comment and the notes on workers that it names describe it.
type script struct {
	ask
	created string
	nonce   string
	// What stands before and after the text of each event but the first of a chat and the last ones; made once, so that an event
	// costs three copies.
	before, after []byte
}

const model = "check"

const doneEvent = "data: [DONE]\n\n"

func newScript(q ask) *script { return &script{ask: q} }

// lead is 1 if an event without text, the role, comes before the tokens.
func (s *script) lead() int {
	if s.kind == Completion {
		return 0
	}
	return 1
}

// events is how many there are: role, tokens, usage if it was asked for, [DONE].
func (s *script) events() int {
	n := s.lead() + s.tokens + 1
	if s.usage {
		n++
	}
	return n
}

// isText says whether event k holds a token.
func (s *script) isText(k int) bool { return k >= s.lead() && k < s.lead()+s.tokens }

// event appends event k. Only after reveal are time and nonce in it.
func (s *script) event(dst []byte, k int) []byte {
	token := k - s.lead()
	switch {
	case k == s.events()-1:
		return append(dst, doneEvent...)
	case token == s.tokens:
		return s.usageEvent(dst)
	case token < 0:
		return fmt.Appendf(dst, `data: %s{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],%s,"prompt_token_ids":null}`+"\n\n",
			s.objectHead(s.object()+".chunk"), s.fingerprint())
	case token == s.tokens-1:
		return s.tokenEvent(dst, token, `"length"`)
	}
	dst = append(dst, s.before...)
	dst = append(dst, s.prompt.token(token)...)
	return append(dst, s.after...)
}

// tokenEvent appends an event with text; finish is JSON.
func (s *script) tokenEvent(dst []byte, token int, finish string) []byte {
	if s.kind == Completion {
		return fmt.Appendf(dst, `data: %s{"index":0,"text":"%s","logprobs":null,"finish_reason":%s,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}],%s}`+"\n\n",
			s.objectHead(s.object()), s.prompt.token(token), finish, s.fingerprint())
	}
	reason := ""
	if finish != "null" {
		reason = `,"stop_reason":null`
	}
	return fmt.Appendf(dst, `data: %s{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":%s%s,"token_ids":null}],%s}`+"\n\n",
		s.objectHead(s.object()+".chunk"), s.prompt.token(token), finish, reason, s.fingerprint())
}

func (s *script) usageEvent(dst []byte) []byte {
	object := s.object()
	if s.kind != Completion {
		object += ".chunk"
	}
	return fmt.Appendf(dst, "data: %s],%s,%s}\n\n", s.objectHead(object), s.usageField(), s.fingerprint())
}

// whole is the JSON object of an answer that isn't streamed.
func (s *script) whole() []byte {
	b := []byte(s.objectHead(s.object()))
	b = append(b, `{"index":0,"message":{"role":"assistant","content":"`...)
	b = s.prompt.appendText(b, s.tokens)
	b = append(b, `","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null}`...)
	b = append(b, `,"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"service_tier":null,`...)
	usage := s.usageField()
	b = fmt.Appendf(b, `%s,%s,"prompt_tokens_details":null}`, s.fingerprint(), usage[:len(usage)-1])
	return append(b, `,"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null}`...)
}

func (s *script) object() string {
	if s.kind == Completion {
		return "text_completion"
	}
	return "chat.completion"
}

func (s *script) objectHead(object string) string {
	id := "chatcmpl-"
	if s.kind == Completion {
		id = "cmpl-"
	}
	return fmt.Sprintf(`{"id":"%s%s","object":"%s","created":%s,"model":"%s","choices":[`, id, s.id, object, s.created, model)
}

func (s *script) fingerprint() string { return `"system_fingerprint":"` + s.nonce + `"` }

func (s *script) usageField() string {
	prompt := 1 + s.promptLen/4
	return fmt.Sprintf(`"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}`, prompt, prompt+s.tokens, s.tokens)
}

// learn takes time and nonce from the first event, and says whether the rest of it is what it must be.
func (s *script) learn(first []byte) error {
	if err := s.know(first); err != nil {
		return err
	}
	if want := s.event(nil, 0); !bytes.Equal(first, want) {
		return fmt.Errorf("want %.300q", want)
	}
	return nil
}

// know takes time and nonce from any event or object.
func (s *script) know(b []byte) error {
	created, nonce := between(b, `"created":`, `,`), fingerprintOf(b)
	if _, err := strconv.ParseUint(created, 10, 63); err != nil || nonce == "" {
		return errors.New("no time and nonce in it")
	}
	s.reveal(created, nonce)
	return nil
}

// reveal tells what only the worker knows. From then on every event can be foretold.
func (s *script) reveal(created, nonce string) {
	s.created, s.nonce = created, nonce
	event := s.tokenEvent(nil, 0, "null")
	text := s.prompt.token(0)
	at := bytes.LastIndex(event, []byte(text+`"`)) // the texts of the others stand between the same bytes
	s.before, s.after = event[:at:at], event[at+len(text):]
}

// fingerprintOf is the nonce that stands in an event or object, empty if there is none.
func fingerprintOf(b []byte) string { return between(b, `"system_fingerprint":"`, `"`) }

func between(b []byte, before, after string) string {
	_, rest, ok := bytes.Cut(b, []byte(before))
	value, _, ended := bytes.Cut(rest, []byte(after))
	if !ok || !ended {
		return ""
	}
	return string(value)
}

// judgePlain compares a JSON answer with what it must be.
func judgePlain(q ask, answer []byte) (nonce string, err error) {
	s := newScript(q)
	if err := s.know(answer); err != nil {
		return "", err
	}
	want := s.whole()
	if at := differ(answer, want); at >= 0 {
		return s.nonce, fmt.Errorf("byte %d of %d: want %.60q, got %.60q", at, len(want), want[at:], answer[at:])
	}
	return s.nonce, nil
}

// differ is the first place where two texts differ, -1 if they don't.
func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) == len(b) {
		return -1
	}
	return min(len(a), len(b))
}
