package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	client "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"autoglm-sidecar/sockets/sse"
)

// awkward is a message that would break an event or a JSON text if it were just pasted in.
const awkward = "worker died: \"CUDA\"\\ out of memory\r\n\r\ndata: [DONE]\n\n\x00\x1b 设置 \u2028 </script>"

func TestOurErrorEventIsOneEventThatAStateKnowsAsAnError(t *testing.T) {
	for _, message := range []string{"", "worker lost", awkward, "not utf-8: \xff\xfe"} {
		out := AppendErrorEvent([]byte("before"), "worker_lost", message)
		event, found := bytes.CutPrefix(out, []byte("before"))
		if !found {
			t.Fatalf("%q does not begin with what was there before", out)
		}
		if events := split(event); len(events) != 1 || len(events[0]) != len(event) {
			t.Fatalf("%q is %d events, want 1", event, len(events))
		}
		var got map[string]any
		if err := json.Unmarshal(sse.Data(nil, event), &got); err != nil {
			t.Fatalf("data of %q: %v", event, err)
		}
		want := map[string]any{"error": map[string]any{
			"message": strings.ToValidUTF8(message, "\ufffd\ufffd"), "type": "server_error", "param": nil, "code": "worker_lost",
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("error event (-want +got):\n%s", diff)
		}
		s := NewState(Chat)
		if j := s.Event(event); j != ErrorEvent {
			t.Errorf("our own error event is judged %v, want error_event", j)
		}
	}
}

func TestOurErrorBodyIsTheEventsDataAlone(t *testing.T) {
	body := AppendErrorBody(nil, "gate_full", awkward)
	event := AppendErrorEvent(nil, "gate_full", awkward)
	if diff := cmp.Diff(string(sse.Data(nil, event)), string(body)); diff != "" {
		t.Errorf("body (-data of the event +body):\n%s", diff)
	}
}

// canned answers each request with the same bytes, so that a real SDK can be asked what it makes of them.
type canned struct {
	status      int
	contentType string
	body        []byte
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: c.status, ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {c.contentType}},
		Body:   io.NopCloser(bytes.NewReader(c.body)),
	}, nil
}

func newClient(c canned) client.Client {
	return client.NewClient(option.WithAPIKey("EMPTY"), option.WithBaseURL("http://worker.invalid/v1"),
		option.WithMaxRetries(0), option.WithHTTPClient(&http.Client{Transport: c}))
}

var params = client.ChatCompletionNewParams{
	Model:    "autoglm-phone-9b",
	Messages: []client.ChatCompletionMessageParamUnion{client.UserMessage("Hi")},
}

func TestTheSDKRaisesOurErrorEvent(t *testing.T) {
	tokens := split(readTranscript(t, "vllm-chat"))[:3]
	body := AppendErrorEvent(bytes.Join(tokens, nil), "worker_lost", awkward)
	sdk := newClient(canned{http.StatusOK, "text/event-stream", body})
	stream := sdk.Chat.Completions.NewStreaming(t.Context(), params)
	var text strings.Builder
	for stream.Next() {
		for _, c := range stream.Current().Choices {
			text.WriteString(c.Delta.Content)
		}
	}
	if want := "<think>open \"Settings\"\n"; text.String() != want {
		t.Errorf("text %q before the error, want %q", text.String(), want)
	}
	if err := stream.Err(); err == nil || !strings.Contains(err.Error(), "CUDA") {
		t.Errorf("the SDK says %v, want an error with our message", err)
	}
}

func TestTheSDKReadsOurErrorBody(t *testing.T) {
	sdk := newClient(canned{http.StatusServiceUnavailable, "application/json", AppendErrorBody(nil, "gate_full", awkward)})
	_, err := sdk.Chat.Completions.New(t.Context(), params)
	said, ok := errors.AsType[*client.Error](err)
	if !ok {
		t.Fatalf("the SDK says %v, want an API error", err)
	}
	if said.Message != awkward || said.Code != "gate_full" || said.Type != "server_error" {
		t.Errorf("the SDK read message %q, code %q, type %q", said.Message, said.Code, said.Type)
	}
}

func TestWhatTheWorkerSaysInItsErrorEvent(t *testing.T) {
	for event, want := range map[string]string{
		"data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n":               "out of memory",
		"data: {\"error\": \"out of memory\"}\n\n":                                         "out of memory",
		"data: {\"object\":\"error\",\"message\":\"too long\"}\n\n":                        "too long",
		"data: {\"error\":{\"object\":\"error\",\"message\":\"a\"},\"message\":\"b\"}\n\n": "a",
		"error: {\"code\":500,\"message\":\"no slot\"}\n\n":                                "no slot",
		"event: error\ndata: {\"message\":\"worker lost\"}\n\n":                            "worker lost",
		"event: error\ndata: worker lost\n\n":                                              "",
		"event: error\n\n":                                                                 "",
		"data: {\"error\":{\"code\":500}}\n\n":                                             "",
		"data: {\"error\":[1]}\n\n":                                                        "",
		"data: {\"error\":{\"message\":7}}\n\n":                                            "",
		"data: {\"error\":\"" + strings.Repeat("长", 300) + "\"}\n\n":                       strings.Repeat("长", maxMessage/3),
	} {
		if got := ErrorMessage([]byte(event)); got != want {
			t.Errorf("%.80q says %q, want %q", event, got, want)
		}
	}
}

func TestDialectsOfRequests(t *testing.T) {
	for _, c := range []struct {
		method, target string
		want           Kind
	}{
		{"POST", "/v1/chat/completions", Chat},
		{"POST", "/chat/completions", Chat},
		{"POST", "/openai/deployments/x/chat/completions?api-version=1", Chat},
		{"POST", "http://127.0.0.1:8000/v1/chat/completions", Chat},
		{"POST", "/v1/completions", Completions},
		{"POST", "/v1/completions?x=/chat/completions", Completions},
		{"POST", "/completions", Completions},
		{"POST", "/v1/completions/", Unknown},
		{"POST", "/v1/completions/render", Unknown},
		{"POST", "/v1/xcompletions", Unknown},
		{"POST", "/v1/responses", Unknown},
		{"POST", "/v1/messages?next=/completions", Unknown},
		{"GET", "/v1/chat/completions", Unknown},
		{"post", "/v1/chat/completions", Unknown},
		{"", "", Unknown},
	} {
		if got := KindOf([]byte(c.method), []byte(c.target)); got != c.want {
			t.Errorf("%s %s is dialect %d, want %d", c.method, c.target, got, c.want)
		}
	}
}
