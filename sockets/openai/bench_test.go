package openai

import (
	"strings"
	"testing"
)

// BenchmarkEvent judges the events that a relay sees all day. The first is the one that counts: a token of vLLM.
func BenchmarkEvent(b *testing.B) {
	logprob := `{"token":" Settings","logprob":-0.0012,"bytes":[32,83,101],"top_logprobs":[` +
		strings.Repeat(`{"token":" x\"","logprob":-7.25,"bytes":[32,120]},`, 19) + `{"token":"y","logprob":-9.5,"bytes":[121]}]}`
	for _, c := range []struct{ name, event string }{
		{"vllm", vllmToken(`"content":" Settings"`)},
		{"vllm_escapes", vllmToken(`"content":"\\n\\u8bbe\\u7f6e\\n"`)},
		{"vllm_tool_call", vllmToken(`"tool_calls":[{"index":1,"function":{"arguments":"{\"index\":"}}]`)},
		{"vllm_logprobs", strings.Replace(vllmToken(`"content":" Settings"`), `"logprobs":null`, `"logprobs":{"content":[`+logprob+`]}`, 1)},
		{"heartbeat", ":\n\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			event := []byte(c.event)
			s := NewState(Chat)
			s.Event([]byte(vllmToken(`"role":"assistant"`)))
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				if s.Event(event) != Forward {
					b.Fatal("not forwarded")
				}
			}
		})
	}
}

func vllmToken(delta string) string {
	return `data: {"id":"chatcmpl-9f2d6c1e8b7a4f0d9c3e5a7b1d2f4e6a","object":"chat.completion.chunk","created":1764000000,` +
		`"model":"autoglm-phone-9b","choices":[{"index":0,"delta":{` + delta + `},"logprobs":null,"finish_reason":null,` +
		`"token_ids":null}]}` + "\n\n"
}
