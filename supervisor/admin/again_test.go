package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// A runner that dies over a question costs whoever asks a moment, and nothing else.
func TestAQuestionIsPutAgainWhereTheRunnerDiedOverIt(t *testing.T) {
	path := filepath.Join(shortDir(t), "a.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var deaths atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if deaths.Add(-1) < 0 {
			io.WriteString(w, `{"name":"gpu0","id":7,"life":7}`)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			c.Close()
		}
	})
	s := &http.Server{Handler: handler}
	defer s.Close()
	go s.Serve(l)
	c := NewClient(path)
	for name, ask := range map[string]func(context.Context) error{
		"status":  func(ctx context.Context) error { _, err := c.Status(ctx); return err },
		"restart": func(ctx context.Context) error { _, err := c.Restart(ctx, RestartRequest{}); return err },
		"drain":   func(ctx context.Context) error { _, err := c.Say(ctx, Word{Verb: Drain}); return err },
		"history": func(ctx context.Context) error { _, err := c.History(ctx, HistoryQuery{}); return err },
	} {
		deaths.Store(2)
		if err := ask(t.Context()); err != nil || deaths.Load() != -1 {
			t.Errorf("%s, with two runners that die over it: %v", name, err)
		}
	}
	deaths.Store(1)
	if err := c.ask(t.Context(), http.MethodPost, "/v1/upgrade", []byte("{}"), answerTime, &Upgrade{}); err == nil {
		t.Error("an upgrade, which may not be asked for twice, was")
	}
}
