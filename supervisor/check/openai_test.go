package check

import (
	"context"
	"fmt"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// openaiGuest is a client that others wrote: it streams a chat as users' programs do, without a retry.
func openaiGuest(ctx context.Context, address, prompt string, tokens int) error {
	client := openai.NewClient(option.WithBaseURL("http://"+address+"/v1"), option.WithAPIKey("EMPTY"), option.WithMaxRetries(0))
	stream := client.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model:     model,
		Messages:  []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)},
		MaxTokens: openai.Int(int64(tokens)),
	})
	defer stream.Close()
	var text, finish string
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			text += choice.Delta.Content
			if choice.FinishReason != "" {
				finish = choice.FinishReason
			}
		}
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("after %d bytes of text: %w", len(text), err)
	}
	if want := Text(prompt, tokens); text != want || finish != "length" {
		return fmt.Errorf("got %d bytes of text and the end %q, want %d and \"length\"", len(text), finish, len(want))
	}
	return nil
}
