package check

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// marked sends a request whose prompt kills the worker, and returns what its client is told.
func marked(ctx context.Context, address, prompt string) (status int, shouldRetry, body string, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/v1/chat/completions",
		strings.NewReader(`{"model":"sim","messages":[{"role":"user","content":"`+prompt+`"}]}`))
	if err != nil {
		return 0, "", "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Do(q)
	if err != nil {
		return 0, "", "", err
	}
	all, err := io.ReadAll(r.Body)
	return r.StatusCode, r.Header.Get("X-Should-Retry"), string(all), errors.Join(err, r.Body.Close())
}

// TestEndToEndAPromptThatKillsTheWorker: every other stream of that moment that has no byte yet survives, the one that
// kills ends loudly at its second life, and is refused when it is sent again. Also when the sidecar itself is killed
// in the middle of that.
func TestEndToEndAPromptThatKillsTheWorker(t *testing.T) {
	for name, kill := range map[string]bool{"alone": false, "with a death of ours": true} {
		t.Run(name, func(t *testing.T) {
			side := running(within(t, 30*time.Second), t, SidecarOptions{
				Program: program(t, shipped), Sim: []string{"--start-delay", "300ms", "--tokens-per-second", "100", "--prefill", "500ms", "--crash-on-prompt", "MARKED"},
			})
			ctx := within(t, 2*time.Minute)
			load := &Load{opts: LoadOptions{Address: side.Address, Rate: 100, Patience: time.Minute}}
			first, err := side.ask(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var others sync.WaitGroup
			// One comes all at once, at its end; of the other the worker has sent the head, and is at the prompt: they have no byte.
			for _, kind := range []Kind{Plain, Stream, Plain, Stream, Plain, Stream} {
				others.Go(func() {
					if a := load.Ask(ctx, Group{Kind: kind, Tokens: [2]int{100, 100}}); a.Outcome != Complete {
						t.Errorf("an innocent got %s %s: %s", a.Outcome, a.Flaw, a.Why)
					}
				})
			}
			rest(ctx, 300*time.Millisecond) // they are with the worker
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				status, shouldRetry, body, err := marked(ctx, side.Address, "this is MARKED")
				if err != nil || status != http.StatusBadGateway || shouldRetry != "false" || !strings.Contains(body, "request_suspected") {
					t.Errorf("the suspect got %d, x-should-retry %q, %s, %v", status, shouldRetry, body, err)
				}
			}()
			if kill {
				awaitLife(t, ctx, side, first.Life+1)
				if err := syscall.Kill(first.Runner, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			<-ended
			others.Wait()
			st, err := side.ask(ctx)
			if err != nil {
				t.Fatal(err)
			}
			lives := st.Life - first.Life // a start that a death of ours has undone has a number too
			if lives != 2 && !kill || lives < 2 || st.Streams.Cuts["suspect"] != 1 || st.Streams.Outcomes["cut"] != 1 {
				t.Errorf("life %d after %d, outcomes %v, cuts %v; want two more lives and the suspect cut", st.Life, first.Life, st.Streams.Outcomes, st.Streams.Cuts)
			}
			began := time.Now()
			status, shouldRetry, body, err := marked(ctx, side.Address, "this is MARKED")
			if err != nil || status != http.StatusBadGateway || shouldRetry != "false" || !strings.Contains(body, "request_suspected") || time.Since(began) > 5*time.Second {
				t.Errorf("sent again it got %d, x-should-retry %q, %s, %v after %v", status, shouldRetry, body, err, time.Since(began))
			}
			if a := load.Ask(ctx, Group{Kind: Stream, Tokens: [2]int{5, 5}}); a.Outcome != Complete {
				t.Errorf("afterwards: %s: %s", a.Outcome, a.Why)
			}
			if again, err := side.ask(ctx); err != nil || again.Life != st.Life {
				t.Errorf("life %d, %v: the repetition came to the worker", again.Life, err)
			}
		})
	}
}

// awaitLife waits until that life, or a later one, is there.
func awaitLife(t *testing.T, ctx context.Context, side *Sidecar, life int64) {
	t.Helper()
	if err := poll(ctx, 5*time.Millisecond, func() (bool, error) {
		st, err := side.ask(ctx)
		return st.Life >= life, err
	}); err != nil {
		t.Fatal(err)
	}
}
