package sim

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestLengths: how many tokens a request gets, and why it ends.
func TestLengths(t *testing.T) {
	const natural = 103 // of "user:Hi\n"
	for _, v := range []struct {
		more   string // of a chat whose user says Hi
		tokens int
		stop   bool
	}{
		{``, natural, true},
		{`,"max_tokens":5`, 5, false},
		{`,"max_tokens":5,"max_completion_tokens":7`, 7, false},
		{`,"max_tokens":null`, natural, true},
		{`,"max_tokens":3000`, 3000, false},
		{`,"max_tokens":3000,"ignore_eos":true`, 3000, false},
		{`,"max_tokens":3000,"ignore_eos":false`, natural, true},
		{`,"max_tokens":50,"ignore_eos":false`, 50, false},
		{`,"stream_options":null,"n":null`, natural, true},
	} {
		q, _, err := parseQuestion([]byte(`{"messages":[{"role":"user","content":"Hi"}]`+v.more+`}`), true, "m")
		if err != nil {
			t.Errorf("%s: %v", v.more, err)
			continue
		}
		if tokens, stop := q.length(0); tokens != v.tokens || stop != v.stop {
			t.Errorf("%s: %d tokens, stop %v; want %d, %v", v.more, tokens, stop, v.tokens, v.stop)
		}
	}
	q, _, err := parseQuestion([]byte(`{"prompt":"hello"}`), false, "m")
	if tokens, stop := q.length(0); err != nil || tokens != 16 || stop {
		t.Errorf("a completion without max_tokens: %d tokens, stop %v, %v; want 16", tokens, stop, err)
	}
}

// FuzzParseQuestion: whatever is accepted has a prompt that follows the package's comment, and is within bounds.
func FuzzParseQuestion(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5,"stream":true}`), true, "Hi")
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"b"}}]}]}`), true, "")
	f.Add([]byte(`{"prompt":[1,2,3],"n":2,"ignore_eos":false}`), false, "\x00é")
	f.Add([]byte(`{"prompt":null}`), false, "")
	f.Fuzz(func(t *testing.T, body []byte, chat bool, text string) {
		q, _, err := parseQuestion(body, chat, "m")
		if err == nil {
			tokens, _ := q.length(0)
			if q.choices < 1 || q.choices > maxChoices || tokens < 1 || tokens > maxTokens || q.promptTokens < 1 || q.usageEach && !q.usage {
				t.Errorf("%s gave %+v", body, q)
			}
		}

		text = strings.ToValidUTF8(text, "?")
		quoted, _ := json.Marshal(text)
		asText := `{"messages":[{"role":"user","content":` + string(quoted) + `}]}`
		asParts := `{"messages":[{"role":"user","content":[{"type":"text","text":` + string(quoted) + `},{"type":"input_audio"}]}]}`
		want := newSeed().add("user:" + text + "\n")
		for _, body := range []string{asText, asParts} {
			q, _, err := parseQuestion([]byte(body), true, "m")
			if err != nil || q.seed != want {
				t.Errorf("%s gave seed %d, %v; want %d", body, q.seed, err, want)
			}
		}
		if q, _, err := parseQuestion([]byte(`{"prompt":`+string(quoted)+`}`), false, "m"); err != nil || q.seed != newSeed().add(text) {
			t.Errorf("the prompt %s gave seed %d, %v", quoted, q.seed, err)
		}
	})
}
