package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Bounds of what a request may ask for, so that a typing error does not occupy the worker for a year.
const (
	maxBody    = 64 << 20
	maxTokens  = 1_000_000
	maxChoices = 128
)

// question is what a request for an answer asks.
type question struct {
	chat         bool
	model        string
	seed         seed // of the prompt
	promptTokens int
	choices      int
	limit        int // tokens a choice; 0: as long as the text is by itself
	endsByItself bool
	stream       bool
	usage        bool  // an event with the usage before [DONE]
	usageEach    bool  // and the usage so far in each event
	promptIDs    []int // of the prompt, where return_token_ids asks for them; else nil
}

// length says how many tokens a choice has and whether its text ended by itself ("stop") or at the limit ("length").
func (q *question) length(choice int) (tokens int, stop bool) {
	if !q.endsByItself {
		return q.limit, false
	}
	natural := q.seed.naturalLength(choice)
	if q.limit > 0 && q.limit < natural {
		return q.limit, false
	}
	return natural, true
}

// wireQuestion is the JSON of both endpoints; unknown fields are ignored, as vLLM ignores them.
type wireQuestion struct {
	Model               string          `json:"model"`
	Messages            []wireMessage   `json:"messages"`
	Prompt              json.RawMessage `json:"prompt"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	N                   *int            `json:"n"`
	Stream              bool            `json:"stream"`
	StreamOptions       struct {
		IncludeUsage         bool `json:"include_usage"`
		ContinuousUsageStats bool `json:"continuous_usage_stats"`
	} `json:"stream_options"`
	IgnoreEOS      *bool `json:"ignore_eos"`
	ReturnTokenIDs bool  `json:"return_token_ids"`
}

type wireMessage struct {
	Role    string      `json:"role"`
	Content wireContent `json:"content"`
}

// wireContent is a message's content, a string or a list of parts, reduced to the text that counts.
type wireContent string

func (c *wireContent) UnmarshalJSON(raw []byte) error {
	if len(raw) == 0 || raw[0] != '[' {
		return json.Unmarshal(raw, (*string)(c)) // null leaves it empty
	}
	var parts []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		ImageURL struct {
			URL string `json:"url"`
		} `json:"image_url"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	var text []byte
	for _, part := range parts {
		switch part.Type {
		case "text":
			text = append(text, part.Text...)
		case "image_url":
			text = append(text, part.ImageURL.URL...)
		}
	}
	*c = wireContent(text)
	return nil
}

// parseQuestion reads the body of a chat or completions request, and gives its prompt beside it. The error is for the
// client, with status 400.
func parseQuestion(body []byte, chat bool, defaultModel string) (q question, prompt string, err error) {
	var wire wireQuestion
	if err := json.Unmarshal(body, &wire); err != nil {
		return question{}, "", fmt.Errorf("read request: %w", err)
	}
	q = question{chat: chat, model: wire.Model, choices: 1, stream: wire.Stream}
	if q.model == "" {
		q.model = defaultModel
	}
	prompt, err = wire.prompt(chat)
	if err != nil {
		return question{}, "", err
	}
	q.seed, q.promptTokens = newSeed().add(prompt), 1+len(prompt)/4
	if wire.ReturnTokenIDs {
		q.promptIDs = wire.ids(prompt)
	}

	limit := wire.MaxTokens
	if chat && wire.MaxCompletionTokens != nil {
		limit = wire.MaxCompletionTokens
	}
	switch {
	case limit != nil && (*limit < 1 || *limit > maxTokens):
		return question{}, "", fmt.Errorf("max_tokens must be 1 to %d, got %d", maxTokens, *limit)
	case limit != nil:
		q.limit = *limit
	case !chat:
		q.limit = 16 // vLLM's default
	}
	q.endsByItself = q.limit == 0 || wire.IgnoreEOS != nil && !*wire.IgnoreEOS
	if wire.N != nil {
		if q.choices = *wire.N; q.choices < 1 || q.choices > maxChoices {
			return question{}, "", fmt.Errorf("n must be 1 to %d, got %d", maxChoices, q.choices)
		}
	}
	q.usage = wire.StreamOptions.IncludeUsage
	q.usageEach = q.usage && wire.StreamOptions.ContinuousUsageStats
	return q, prompt, nil
}

// ids are those of the prompt's tokens: its own where it is a list of them.
func (w *wireQuestion) ids(prompt string) []int {
	var given []int
	if err := json.Unmarshal(w.Prompt, &given); err == nil && given != nil {
		return given
	}
	return promptIDs(prompt)
}

// prompt is P of the package's comment.
func (w *wireQuestion) prompt(chat bool) (string, error) {
	if chat {
		if len(w.Messages) == 0 {
			return "", errors.New("messages must have at least one message")
		}
		var all []byte
		for _, message := range w.Messages {
			all = append(all, message.Role...)
			all = append(all, ':')
			all = append(all, message.Content...)
			all = append(all, '\n')
		}
		return string(all), nil
	}
	if raw := bytes.TrimLeft(w.Prompt, " \t\r\n"); len(raw) > 0 && raw[0] == '[' {
		var ids []int
		if err := json.Unmarshal(raw, &ids); err != nil {
			return "", errors.New("prompt must be a string or a list of token ids: this double takes one prompt a request")
		}
		var all []byte
		for i, id := range ids {
			if i > 0 {
				all = append(all, ',')
			}
			all = strconv.AppendInt(all, int64(id), 10)
		}
		return string(all), nil
	}
	var text *string
	if err := json.Unmarshal(w.Prompt, &text); err != nil || text == nil {
		return "", errors.New("prompt must be a string or a list of token ids")
	}
	return *text, nil
}
