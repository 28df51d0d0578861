package sim

import (
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// TestOpenAIClient: the client that people use understands the streams, their usage, and an error event.
func TestOpenAIClient(t *testing.T) {
	w := startWorker(t, "")
	client := openai.NewClient(option.WithBaseURL("http://"+w.address().String()+"/v1"), option.WithAPIKey("EMPTY"), option.WithMaxRetries(0))
	ask := openai.ChatCompletionNewParams{
		Model:         "m",
		Messages:      []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hi")},
		MaxTokens:     openai.Int(5),
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
	}
	stream := client.Chat.Completions.NewStreaming(t.Context(), ask)
	var all openai.ChatCompletionAccumulator
	for stream.Next() {
		if !all.AddChunk(stream.Current()) {
			t.Errorf("chunk %s does not fit the ones before", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if got := all.Choices[0]; got.Message.Content != fiveTokens || got.FinishReason != "length" || all.Usage.CompletionTokens != 5 {
		t.Errorf("got %q, finish %s, usage %+v", got.Message.Content, got.FinishReason, all.Usage)
	}

	whole, err := client.Chat.Completions.New(t.Context(), ask)
	if err != nil || whole.Choices[0].Message.Content != fiveTokens || !strings.Contains(whole.RawJSON(), testLife) {
		t.Errorf("the plain answer is %v, %+v", err, whole)
	}

	failing := client.Chat.Completions.NewStreaming(t.Context(), ask, option.WithHeader("X-Sim", `{"fault":"error_event"}`))
	for failing.Next() {
		_ = failing.Current()
	}
	if err := failing.Err(); err == nil || !strings.Contains(err.Error(), "Internal server error") {
		t.Errorf("the error event gave %v", err)
	}
}
