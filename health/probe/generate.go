package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Generate asks a model for one token, over "tcp" or "unix": the only question that a worker whose engine hangs can't
// answer. The path says in which words: one that ends with /chat/completions or /completions is OpenAI's, any other is
// SGLang's own /generate. Without a model the worker's first is asked for, once.
func Generate(network, address, path, model string) Probe {
	host := hostOf(network, address)
	g := &generate{path: path, host: host, network: network, address: address, model: model}
	return g.ask
}

type generate struct {
	network, address, host, path string

	mu    sync.Mutex // guards model
	model string     // empty: not asked for yet
}

func (g *generate) ask(ctx context.Context) error {
	body, err := g.question(ctx)
	if err != nil {
		return err
	}
	answer, err := g.exchange(ctx, http.MethodPost, g.path, body)
	if err != nil {
		return err
	}
	return hasToken(answer)
}

// question is the request's body.
func (g *generate) question(ctx context.Context) ([]byte, error) {
	type object map[string]any
	if !strings.HasSuffix(g.path, "/completions") {
		return json.Marshal(object{"text": "a", "sampling_params": object{"max_new_tokens": 1, "temperature": 0}})
	}
	model, err := g.modelName(ctx)
	if err != nil {
		return nil, err
	}
	ask := object{"model": model, "max_tokens": 1, "temperature": 0}
	if strings.HasSuffix(g.path, "/chat/completions") {
		ask["messages"] = []object{{"role": "user", "content": "a"}}
	} else {
		ask["prompt"] = "a"
	}
	return json.Marshal(ask)
}

// modelName is the model that was said, or the first that the worker lists.
func (g *generate) modelName(ctx context.Context) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.model != "" {
		return g.model, nil
	}
	base := strings.TrimSuffix(strings.TrimSuffix(g.path, "/completions"), "/chat")
	answer, err := g.exchange(ctx, http.MethodGet, base+"/models", nil)
	if err != nil {
		return "", fmt.Errorf("ask for its models: %w", err)
	}
	var list struct {
		Data []struct{ ID string }
	}
	if err := json.Unmarshal(answer, &list); err != nil || len(list.Data) == 0 || list.Data[0].ID == "" {
		return "", fmt.Errorf("ask for its models: %w: it lists none", ErrBroken)
	}
	g.model = list.Data[0].ID
	return g.model, nil
}

// exchange sends one request over a connection of its own and returns the body of an answer with status 200.
func (g *generate) exchange(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+g.host+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", path, err)
	}
	req.Header.Set("User-Agent", userAgent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Close = true

	conn, err := dial(ctx, g.network, g.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := req.Write(conn); err != nil {
		return nil, noAnswer(ctx, err)
	}
	var got bytes.Buffer
	if err := readAnswer(ctx, bufio.NewReader(io.LimitReader(conn, mostAnswer)), req, &got); err != nil {
		return nil, err
	}
	return got.Bytes(), nil
}

// hasToken looks whether an answer holds what was asked for. An engine that gave up says so in good form.
func hasToken(answer []byte) error {
	var a struct {
		Text    *string // SGLang's own
		Choices []struct {
			Finish string `json:"finish_reason"`
		}
	}
	switch err := json.Unmarshal(answer, &a); {
	case err != nil:
		return fmt.Errorf("%w: it is no JSON", ErrBroken)
	case a.Text == nil && len(a.Choices) == 0:
		return fmt.Errorf("%w: it has no text", ErrBroken)
	case a.Text == nil && (a.Choices[0].Finish == "abort" || a.Choices[0].Finish == "error"):
		return fmt.Errorf("%w: the worker gave it up", ErrBroken)
	}
	return nil
}
