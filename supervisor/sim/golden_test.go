package sim

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The bytes in this file were written by hand after reference section 2.6 on vLLM and uvicorn's HTTP writer, not taken
// from the code.

const streamHead = "HTTP/1.1 200 OK\r\n" +
	"date: " + testDate + "\r\n" +
	"server: autoglm-sidecar-sim\r\n" +
	"content-type: text/event-stream; charset=utf-8\r\n" +
	"connection: close\r\n" +
	"transfer-encoding: chunked\r\n" +
	"\r\n"

// TestGoldenChatStream: a whole answer, each byte.
func TestGoldenChatStream(t *testing.T) {
	w := startWorker(t, "")
	got, err := w.exchange(request("/v1/chat/completions",
		`{"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":4,"temperature":0.0,"stream":true,"stream_options":{"include_usage":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := streamHead +
		"109\r\n" + `data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1795435200,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"system_fingerprint":"sim-0123456789abcdef","prompt_token_ids":null}` + "\n\n\r\n" +
		"f4\r\n" + `data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1795435200,"model":"m","choices":[{"index":0,"delta":{"content":" home"},"logprobs":null,"finish_reason":null,"token_ids":null}],"system_fingerprint":"sim-0123456789abcdef"}` + "\n\n\r\n" +
		"f4\r\n" + `data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1795435200,"model":"m","choices":[{"index":0,"delta":{"content":" type"},"logprobs":null,"finish_reason":null,"token_ids":null}],"system_fingerprint":"sim-0123456789abcdef"}` + "\n\n\r\n" +
		"f4\r\n" + `data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1795435200,"model":"m","choices":[{"index":0,"delta":{"content":" type"},"logprobs":null,"finish_reason":null,"token_ids":null}],"system_fingerprint":"sim-0123456789abcdef"}` + "\n\n\r\n" +
		"111\r\n" + `data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1795435200,"model":"m","choices":[{"index":0,"delta":{"content":" 自动auto"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"system_fingerprint":"sim-0123456789abcdef"}` + "\n\n\r\n" +
		"da\r\n" + `data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1795435200,"model":"m","choices":[],"usage":{"prompt_tokens":3,"total_tokens":7,"completion_tokens":4},"system_fingerprint":"sim-0123456789abcdef"}` + "\n\n\r\n" +
		"e\r\ndata: [DONE]\n\n\r\n" +
		"0\r\n\r\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// stream is a head and a chunked body of events, each a chunk of its own.
func stream(events ...string) string {
	var raw strings.Builder
	raw.WriteString(streamHead)
	for _, event := range events {
		fmt.Fprintf(&raw, "%x\r\n%s\r\n", len(event), event)
	}
	return raw.String() + "0\r\n\r\n"
}

// event is an event of a completion, its choices given.
func event(choices string) string {
	return `data: {"id":"cmpl-r1","object":"text_completion","created":1795435200,"model":"m","choices":[` + choices +
		`],"system_fingerprint":"sim-0123456789abcdef"}` + "\n\n"
}

// TestGoldenCompletionStreams: what differs by the request.
func TestGoldenCompletionStreams(t *testing.T) {
	for _, v := range []struct{ name, body, want string }{
		{
			"two choices take turns",
			`{"prompt":"hello","max_tokens":2,"n":2,"stream":true}`,
			stream(
				event(`{"index":0,"text":" tap","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}`),
				event(`{"index":1,"text":" 🙂yes","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}`),
				event(`{"index":0,"text":" wait","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":null}`),
				event(`{"index":1,"text":" home","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":null}`),
				"data: [DONE]\n\n",
			),
		},
		{
			"usage in each event",
			`{"prompt":"hello","max_tokens":2,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`,
			stream(
				`data: {"id":"cmpl-r1","object":"text_completion","created":1795435200,"model":"m","choices":[{"index":0,"text":" tap","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}],"usage":{"prompt_tokens":2,"total_tokens":3,"completion_tokens":1},"system_fingerprint":"sim-0123456789abcdef"}`+"\n\n",
				`data: {"id":"cmpl-r1","object":"text_completion","created":1795435200,"model":"m","choices":[{"index":0,"text":" wait","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":null}],"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2},"system_fingerprint":"sim-0123456789abcdef"}`+"\n\n",
				`data: {"id":"cmpl-r1","object":"text_completion","created":1795435200,"model":"m","choices":[],"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2},"system_fingerprint":"sim-0123456789abcdef"}`+"\n\n",
				"data: [DONE]\n\n",
			),
		},
		{
			"token ids as prompt, what JSON must escape in the model's name",
			`{"model":"a\"b<&>","prompt":[1,2,3],"max_tokens":1,"stream":true}`,
			stream(
				strings.Replace(event(`{"index":0,"text":" type","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":null}`),
					`"model":"m"`, `"model":"a\"b<&>"`, 1),
				"data: [DONE]\n\n",
			),
		},
		{
			"ids of the tokens: of the prompt in each choice's first event, then of the text",
			`{"prompt":"hello","max_tokens":2,"n":2,"stream":true,"return_token_ids":true}`,
			stream(
				event(`{"index":0,"text":" tap","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":[17,142444],"token_ids":[0]}`),
				event(`{"index":1,"text":" 🙂yes","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":[17,142444],"token_ids":[15]}`),
				event(`{"index":0,"text":" wait","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":[5]}`),
				event(`{"index":1,"text":" home","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":[4]}`),
				"data: [DONE]\n\n",
			),
		},
		{
			"a prompt of ids is told as it came",
			`{"prompt":[1,2,3],"max_tokens":1,"stream":true,"return_token_ids":true}`,
			stream(
				event(`{"index":0,"text":" type","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":[1,2,3],"token_ids":[6]}`),
				"data: [DONE]\n\n",
			),
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			w := startWorker(t, "")
			got, err := w.exchange(request("/v1/completions", v.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestGoldenJSON: the answers that are not streamed.
func TestGoldenJSON(t *testing.T) {
	for _, v := range []struct{ name, path, body, want string }{
		{
			"chat", "/v1/chat/completions",
			`{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2}`,
			`{"id":"chatcmpl-r1","object":"chat.completion","created":1795435200,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":" home type","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"service_tier":null,"system_fingerprint":"sim-0123456789abcdef","usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2,"prompt_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null}`,
		},
		{
			"completion", "/v1/completions",
			`{"prompt":"hello","max_tokens":4,"n":2}`,
			`{"id":"cmpl-r1","object":"text_completion","created":1795435200,"model":"m","choices":[{"index":0,"text":" tap wait open <answer>","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null},{"index":1,"text":" 🙂yes home C:\\tmp home","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null}],"service_tier":null,"system_fingerprint":"sim-0123456789abcdef","usage":{"prompt_tokens":2,"total_tokens":10,"completion_tokens":8,"prompt_tokens_details":null},"kv_transfer_params":null}`,
		},
		{
			"chat with the ids of its tokens", "/v1/chat/completions",
			`{"messages":[{"role":"user","content":"Hi"}],"max_tokens":2,"return_token_ids":true}`,
			`{"id":"chatcmpl-r1","object":"chat.completion","created":1795435200,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":" home type","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":[4,6]}],"service_tier":null,"system_fingerprint":"sim-0123456789abcdef","usage":{"prompt_tokens":3,"total_tokens":5,"completion_tokens":2,"prompt_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":[17,17778,10506],"kv_transfer_params":null}`,
		},
		{
			"completion with the ids of its tokens", "/v1/completions",
			`{"prompt":"hello","max_tokens":2,"return_token_ids":true}`,
			`{"id":"cmpl-r1","object":"text_completion","created":1795435200,"model":"m","choices":[{"index":0,"text":" tap wait","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":[0,5],"prompt_logprobs":null,"prompt_token_ids":[17,142444]}],"service_tier":null,"system_fingerprint":"sim-0123456789abcdef","usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2,"prompt_tokens_details":null},"kv_transfer_params":null}`,
		},
	} {
		t.Run(v.name, func(t *testing.T) {
			w := startWorker(t, "")
			got, err := w.exchange(request(v.path, v.body))
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("HTTP/1.1 200 OK\r\ndate: %s\r\nserver: autoglm-sidecar-sim\r\ncontent-length: %d\r\n"+
				"content-type: application/json\r\nconnection: close\r\n\r\n%s", testDate, len(v.want), v.want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestGoldenTokenIDs: a chat tells its prompt's ids with the role, and of a text that ends by itself the end token's too.
func TestGoldenTokenIDs(t *testing.T) {
	w := startWorker(t, `{"tokens_per_event":100}`)
	got, err := w.exchange(request("/v1/chat/completions",
		`{"messages":[{"role":"user","content":"Hi"}],"ignore_eos":false,"stream":true,"return_token_ids":true}`))
	if err != nil {
		t.Fatal(err)
	}
	_, body := cutAtBody(t, got)
	events, _, _ := unchunk(t, body)
	for _, want := range []string{
		`"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"system_fingerprint":"sim-0123456789abcdef","prompt_token_ids":[17,17778,10506]}` + "\n\n",
		`"logprobs":null,"finish_reason":null,"token_ids":[4,6,6,10,11,`,
		`"finish_reason":"stop","stop_reason":null,"token_ids":[`,
		`,16]}],"system_fingerprint":"sim-0123456789abcdef"}` + "\n\ndata: [DONE]\n\n",
	} {
		if !strings.Contains(events, want) {
			t.Errorf("no %q in\n%s", want, events)
		}
	}
}

// TestGoldenStop: a text that ends by itself has natural(P, 0) = 103 tokens ("user:Hi\n", as in TestVectors), then an
// event without text, and the end token counts in the usage.
func TestGoldenStop(t *testing.T) {
	w := startWorker(t, "")
	got, err := w.exchange(request("/v1/chat/completions",
		`{"messages":[{"role":"user","content":[{"type":"text","text":"H"},{"type":"text","text":"i"}]}],"max_tokens":3000,"ignore_eos":false,"stream":true,"stream_options":{"include_usage":true}}`))
	if err != nil {
		t.Fatal(err)
	}
	last := `data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1795435200,"model":"m","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}],"system_fingerprint":"sim-0123456789abcdef"}` + "\n\n" +
		`data: {"id":"chatcmpl-r1","object":"chat.completion.chunk","created":1795435200,"model":"m","choices":[],"usage":{"prompt_tokens":3,"total_tokens":107,"completion_tokens":104},"system_fingerprint":"sim-0123456789abcdef"}` + "\n\n" +
		"data: [DONE]\n\n"
	_, body := cutAtBody(t, got)
	events, whole, _ := unchunk(t, body)
	if !whole || !strings.HasSuffix(events, last) {
		t.Errorf("the stream ends with\n%s\nwant\n%s", events[max(0, len(events)-len(last)):], last)
	}
	if deltas := strings.Count(events, `"delta":{"content":"`); deltas != 104 {
		t.Errorf("%d deltas, want 103 tokens and the end", deltas)
	}
	if text, _ := textOf(t, events); !strings.HasPrefix(text, " home type type 自动auto 点击click") {
		t.Errorf("text begins %.60q", text)
	}
}

// TestGoldenPlain: the small endpoints.
func TestGoldenPlain(t *testing.T) {
	head := func(status string, length int, more string) string {
		return fmt.Sprintf("HTTP/1.1 %s\r\ndate: %s\r\nserver: autoglm-sidecar-sim\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n",
			status, testDate, length, more)
	}
	const isJSON = "content-type: application/json\r\n"
	refusal := func(message string) string {
		body := `{"error":{"message":"` + message + `","type":"BadRequestError","param":null,"code":400}}`
		return head("400 Bad Request", len(body), isJSON) + body
	}
	for _, v := range []struct{ name, request, want string }{
		{"ping", "POST /ping HTTP/1.1\r\nHost: sim\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", head("200 OK", 0, "")},
		{"health that asks the engine", "GET /health_generate HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n", head("200 OK", 0, "")},
		{"health", "GET /health HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n", head("200 OK", 0, "")},
		{"HEAD", "HEAD /version HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n", head("200 OK", 39, isJSON)},
		{
			"version", "GET /version HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n",
			head("200 OK", 39, isJSON) + `{"version":"0.0.0+autoglm-sidecar-sim"}`,
		},
		{
			"unknown path", "GET /nowhere HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n",
			head("404 Not Found", 22, isJSON) + `{"detail":"Not Found"}`,
		},
		{
			"wrong method", "GET /v1/completions HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n",
			head("405 Method Not Allowed", 31, "allow: POST\r\n"+isJSON) + `{"detail":"Method Not Allowed"}`,
		},
		{
			"models", "GET /v1/models HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n",
			head("200 OK", 456, isJSON) + `{"object":"list","data":[{"id":"m","object":"model","created":1795435200,"owned_by":"autoglm-sidecar-sim","root":"m","parent":null,"max_model_len":25480,"permission":[{"id":"modelperm-sim-0123456789abcdef","object":"model_permission","created":1795435200,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,"allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,"organization":"*","group":null,"is_blocking":false}]}]}`,
		},
		{"no prompt", request("/v1/completions", `{}`), refusal("prompt must be a string or a list of token ids")},
		{"no messages", request("/v1/chat/completions", `{}`), refusal("messages must have at least one message")},
		{"too many choices", request("/v1/completions", `{"prompt":"","n":129}`), refusal("n must be 1 to 128, got 129")},
		{"no tokens", request("/v1/completions", `{"prompt":"","max_tokens":0}`), refusal("max_tokens must be 1 to 1000000, got 0")},
	} {
		t.Run(v.name, func(t *testing.T) {
			w := startWorker(t, "")
			got, err := w.exchange(v.request)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
