package probe_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/health/probe"
)

// model answers like a worker, and notes what it was asked.
type model struct {
	t      *testing.T
	status int
	answer string
	asked  []string // METHOD PATH BODY
}

// ServeHTTP implements http.Handler.
func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.asked = append(m.asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
	if r.Method == http.MethodGet {
		io.WriteString(w, `{"object":"list","data":[{"id":"first"},{"id":"second"}]}`)
		return
	}
	if r.Header.Get("Content-Type") != "application/json" || !json.Valid(body) {
		m.t.Errorf("asked with %s: %s", r.Header.Get("Content-Type"), body)
	}
	w.WriteHeader(m.status)
	io.WriteString(w, m.answer)
}

func TestGenerateAsksInTheWordsOfThePath(t *testing.T) {
	const whole = `{"choices":[{"index":0,"text":"x","finish_reason":"length"}]}`
	for _, test := range []struct {
		path, model, answer string
		asked               []string
	}{
		{"/v1/completions", "", whole, []string{
			"GET /v1/models", `POST /v1/completions {"max_tokens":1,"model":"first","prompt":"a","temperature":0}`,
			`POST /v1/completions {"max_tokens":1,"model":"first","prompt":"a","temperature":0}`,
		}},
		{"/v1/chat/completions", "", whole, []string{
			"GET /v1/models", `POST /v1/chat/completions {"max_tokens":1,"messages":[{"content":"a","role":"user"}],"model":"first","temperature":0}`,
			`POST /v1/chat/completions {"max_tokens":1,"messages":[{"content":"a","role":"user"}],"model":"first","temperature":0}`,
		}},
		{"/api/v1/completions", `a "name"`, whole, []string{
			`POST /api/v1/completions {"max_tokens":1,"model":"a \"name\"","prompt":"a","temperature":0}`,
			`POST /api/v1/completions {"max_tokens":1,"model":"a \"name\"","prompt":"a","temperature":0}`,
		}},
		{"/generate", "", `{"text":"x","meta_info":{}}`, []string{
			`POST /generate {"sampling_params":{"max_new_tokens":1,"temperature":0},"text":"a"}`,
			`POST /generate {"sampling_params":{"max_new_tokens":1,"temperature":0},"text":"a"}`,
		}},
	} {
		m := &model{t: t, status: 200, answer: test.answer}
		s := httptest.NewServer(m)
		ask := probe.Generate("tcp", s.Listener.Addr().String(), test.path, test.model)
		for range 2 {
			if err := ask(t.Context()); err != nil {
				t.Errorf("%s: %v", test.path, err)
			}
		}
		s.Close()
		if got, want := strings.Join(m.asked, "\n"), strings.Join(test.asked, "\n"); got != want {
			t.Errorf("%s asked\n%s\nwant\n%s", test.path, got, want)
		}
	}
}

func TestGenerateJudgesTheAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		answer string
		want   error
	}{
		{"an error of the worker's", 500, `{"error":{}}`, &probe.StatusError{Code: 500}},
		{"it wants a key", 401, `{"error":"Unauthorized"}`, &probe.StatusError{Code: 401}},
		{"no text", 200, `{"error":{"message":"engine dead"}}`, probe.ErrBroken},
		{"no choices", 200, `{"choices":[]}`, probe.ErrBroken},
		{"given up in good form", 200, `{"choices":[{"text":"","finish_reason":"abort"}]}`, probe.ErrBroken},
		{"no JSON", 200, `<html>`, probe.ErrBroken},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewServer(&model{t: t, status: test.status, answer: test.answer})
			defer s.Close()
			err := probe.Generate("tcp", s.Listener.Addr().String(), "/v1/completions", "m")(t.Context())
			if !same(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestGenerateOfAWorkerThatHangs(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"at its models": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"at the token": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				io.WriteString(w, `{"data":[{"id":"m"}]}`)
				return
			}
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(answer)
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if err := probe.Generate("tcp", s.Listener.Addr().String(), "/v1/completions", "")(ctx); !errors.Is(err, probe.ErrNoAnswer) {
				t.Errorf("got %v, want %v", err, probe.ErrNoAnswer)
			}
		})
	}
}

// FuzzToken: whatever a worker answers is judged, and never more than one thing.
func FuzzToken(f *testing.F) {
	f.Add([]byte(`{"choices":[{"text":"x","finish_reason":"length"}]}`))
	f.Add([]byte(`{"text":null,"choices":[{"finish_reason":"abort"}]}`))
	f.Add([]byte(`{"text":"x"}`))
	f.Add([]byte(`[1`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		err := probe.HasToken(answer)
		if err != nil && (!errors.Is(err, probe.ErrBroken) || len(err.Error()) > 80) {
			t.Errorf("%q gave %v", answer, err)
		}
		if err == nil && !json.Valid(answer) {
			t.Errorf("%q was taken for an answer", answer)
		}
	})
}
