package check

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// restarted starts a sidecar and restarts its worker, and returns while the gate holds. ended yields what became of it.
func restarted(t *testing.T, ctx context.Context, opts SidecarOptions) (side *Sidecar, ended <-chan error) {
	t.Helper()
	side = running(ctx, t, opts)
	done := make(chan error, 1)
	go func() {
		_, err := side.Restart(ctx)
		done <- err
	}()
	if err := side.WaitPhase(ctx, func(phase string) bool { return phase == "starting" }); err != nil {
		t.Fatal(err)
	}
	return side, done
}

// from is a client with an address of its own on this machine.
func from(address string) *http.Client {
	dial := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// TestEndToEndOneClientDoesNotCrowdOutAnother: 500 streams of one address wait for a worker that has room for a few, and
// then one of another address comes.
func TestEndToEndOneClientDoesNotCrowdOutAnother(t *testing.T) {
	const many, atOnce = 500, 4
	settings := filepath.Join(t.TempDir(), "queue.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "queue: {concurrency: %d}\n", atOnce), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 2*time.Minute)
	side, ended := restarted(t, ctx, SidecarOptions{
		Program: program(t, shipped), Run: []string{"--config", settings}, Sim: []string{"--start-delay", "8s", "--tokens-per-second", "200"},
	})
	var served atomic.Int64
	ask := func(client *http.Client) (place int64) {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+side.Address+"/v1/completions", strings.NewReader(`{"model":"sim","prompt":"hello","max_tokens":4}`))
		if err != nil {
			t.Error(err)
			return 0
		}
		r, err := client.Do(q)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer r.Body.Close()
		if body, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK {
			t.Errorf("%d %q, %v", r.StatusCode, body, err)
		}
		return served.Add(1)
	}
	waits := func(held int) {
		t.Helper()
		err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
			st, err := side.ask(ctx)
			return err == nil && st.Gate.Held >= held, side.gone()
		})
		if err != nil {
			t.Fatalf("wait for %d held streams: %v", held, err)
		}
	}
	var clients sync.WaitGroup
	crowd := from("127.0.0.1")
	for range many {
		clients.Go(func() { ask(crowd) })
	}
	waits(many)
	place := make(chan int64, 1)
	clients.Go(func() { place <- ask(from("127.0.0.2")) })
	waits(many + 1)
	before, err := side.ask(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := Kill.Strike(before.Runner); err != nil { // the next runner finds the turns again
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	clients.Wait()
	at := <-place
	worker, err := side.simState(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the one was served as number %d of %d; the worker had %d at once", at, served.Load(), worker.MostAtOnce)
	// One turn each, and those that were let in with it may be quicker.
	if at == 0 || at > 4*atOnce {
		t.Errorf("the one was served as number %d", at)
	}
	if worker.MostAtOnce != atOnce {
		t.Errorf("the worker had %d streams at once, its bound is %d", worker.MostAtOnce, atOnce)
	}
}

// impatient asks for a chat by a client that waits for an answer's head only for so long.
func impatient(ctx context.Context, address string, patience time.Duration) error {
	client := openai.NewClient(option.WithBaseURL("http://"+address+"/v1"), option.WithAPIKey("EMPTY"), option.WithMaxRetries(0),
		option.WithHTTPClient(&http.Client{Transport: &http.Transport{ResponseHeaderTimeout: patience}}))
	stream := client.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
		Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hi")}, MaxTokens: openai.Int(50),
	})
	defer stream.Close()
	var text strings.Builder
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			text.WriteString(choice.Delta.Content)
		}
	}
	if err := stream.Err(); err != nil {
		return fmt.Errorf("after %q: %w", text.String(), err)
	}
	if want := Text("Hi", 50); text.String() != want {
		return fmt.Errorf("got %q, want %q", text.String(), want)
	}
	return nil
}

// TestEndToEndAnEarlyAnswerKeepsAnImpatientClient, though the sidecar is killed in the middle of it; and without one the
// same client gives up.
func TestEndToEndAnEarlyAnswerKeepsAnImpatientClient(t *testing.T) {
	for _, early := range []bool{true, false} {
		t.Run(fmt.Sprintf("early=%v", early), func(t *testing.T) {
			front := "early_after: 1s"
			if !early {
				front = "early_after: 0"
			}
			ctx := within(t, time.Minute)
			side, ended := restarted(t, ctx, SidecarOptions{
				Program: program(t, shipped), Front: front, Run: []string{"--heartbeat", "500ms"},
				Sim: []string{"--start-delay", "8s", "--tokens-per-second", "50"},
			})
			answer := make(chan error, 1)
			go func() { answer <- impatient(ctx, side.Address, 4*time.Second) }()
			rest(ctx, 2*time.Second)
			st, err := side.ask(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := Kill.Strike(st.Runner); err != nil {
				t.Fatal(err)
			}
			switch err := <-answer; {
			case early && err != nil:
				t.Errorf("the client got: %v", err)
			case !early && (err == nil || !strings.Contains(err.Error(), "timeout awaiting response headers")):
				t.Errorf("the client got %v: this run should show that it gives up", err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
