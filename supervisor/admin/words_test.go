package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAWordGoesThroughSignedAndLogged(t *testing.T) {
	f := newFake()
	var log logged
	c := NewClient(serveFake(t, f, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}))
	me := fmt.Sprintf("uid %d", os.Getuid())
	freeze := FreezeRequest{For: Span(90 * time.Minute), Why: "a benchmark", All: true}
	var want []Word
	for _, w := range []Word{
		{Verb: Stop, Now: true}, {Verb: Start}, {Verb: Drain}, {Verb: Open}, {Verb: Freeze, FreezeRequest: freeze}, {Verb: Unfreeze},
	} {
		signed := w
		signed.By = me
		want = append(want, signed)
		w.By = "somebody else"
		if taken, err := c.Say(t.Context(), w); err != nil || taken.Life != 7 || taken.Already != (len(want) > 1) {
			t.Errorf("%s: %+v, %v", w.Verb, taken, err)
		}
		if line := fmt.Sprintf("msg=%q uid=%d pid=%d", string(w.Verb)+" asked for", os.Getuid(), os.Getpid()); !strings.Contains(log.String(), line) {
			t.Errorf("the log lacks %s:\n%s", line, log.String())
		}
	}
	if d := cmp.Diff(want, f.heard()); d != "" {
		t.Errorf("what was said (-want +got):\n%s", d)
	}
	for _, part := range []string{"now=true", `for=1h30m0s why="a benchmark" all=true`} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %s:\n%s", part, log.String())
		}
	}

	f.mu.Lock()
	f.refuse = &Refusal{Code: FrozenNow, Message: "frozen by uid 7"}
	f.mu.Unlock()
	_, err := c.Say(t.Context(), Word{Verb: Stop})
	if r, ok := errors.AsType[*Refusal](err); !ok || r.Code != FrozenNow || err.Error() != "ask to stop: frozen by uid 7" {
		t.Errorf("a refused stop: %v", err)
	}
	if !strings.Contains(log.String(), `msg="stop refused"`) {
		t.Errorf("the refusal is not logged:\n%s", log.String())
	}
}

// logged is what a log has written so far.
type logged struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (w *logged) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *logged) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func TestTheGroupSaysNothing(t *testing.T) {
	f := newFake()
	h := control{Backend: f, log: slog.New(slog.DiscardHandler), owner: 1000}.handler()
	member := context.WithValue(t.Context(), peerKey{}, Peer{UID: 1001, PID: 99})
	for _, verb := range verbs {
		for name, ctx := range map[string]context.Context{"a member of the group": member, "a peer that is not known": t.Context()} {
			w := newRecorder()
			h.ServeHTTP(w, newRequest(t, ctx, "POST", "/v1/"+string(verb)))
			if w.status != http.StatusForbidden || !strings.Contains(w.body.String(), `"code":"not_permitted"`) {
				t.Errorf("%s says %s and gets %d %s, want not_permitted", name, verb, w.status, w.body.String())
			}
		}
	}
	if said := f.heard(); len(said) != 0 {
		t.Errorf("the backend was told %+v", said)
	}
	w := newRecorder()
	h.ServeHTTP(w, newRequest(t, member, "GET", "/v1/history"))
	if w.status != http.StatusOK || w.body.String() != "{\"restarts\":[]}\n" {
		t.Errorf("a member of the group looks at the history and gets %d %q", w.status, w.body.String())
	}
}

func TestWordsAreReadStrictly(t *testing.T) {
	f := newFake()
	path := serveFake(t, f, Options{})
	for _, c := range []struct{ request, status, code string }{
		{post("/v1/stop", `{"now":1}`), "400", BadRequest},
		{post("/v1/stop", `{"now":true,"force":true}`), "400", BadRequest},
		{post("/v1/start", `{"now":true}`), "400", BadRequest},
		{post("/v1/drain", `[]`), "400", BadRequest},
		{post("/v1/drain", `{}{}`), "400", BadRequest},
		{post("/v1/open", `{"life":3}`), "400", BadRequest},
		{post("/v1/freeze", `{"for":2,"why":"x"}`), "400", BadRequest},
		{post("/v1/freeze", `{"for":"2 hours","why":"x"}`), "400", BadRequest},
		{post("/v1/freeze", `{"for":"2h","why":"x","by":"root"}`), "400", BadRequest},
		{post("/v1/unfreeze", `{"all":true}`), "400", BadRequest},
		{get("GET", "/v1/drain"), "405", MethodNotAllowed},
		{get("DELETE", "/v1/freeze"), "405", MethodNotAllowed},
		{get("POST", "/v1/history"), "405", MethodNotAllowed},
		{get("GET", "/v1/history?limit=0"), "400", BadRequest},
		{get("GET", "/v1/history?limit=1001"), "400", BadRequest},
		{get("GET", "/v1/history?limit=x"), "400", BadRequest},
		{get("GET", "/v1/history?since=yesterday"), "400", BadRequest},
		{get("GET", "/v1/history?id=0"), "400", BadRequest},
		{get("GET", "/v1/history?file=/etc/passwd"), "400", BadRequest},
	} {
		answer := exchange(t, "unix", path, c.request)
		if !strings.HasPrefix(answer, "HTTP/1.1 "+c.status) || !strings.Contains(answer, `{"error":{"code":"`+c.code+`","message":"`) {
			t.Errorf("%.80q\n got %q\nwant %s with %s", c.request, answer, c.status, c.code)
		}
	}
	if said := f.heard(); len(said) != 0 {
		t.Errorf("a bad request reached the backend: %+v", said)
	}
	for _, verb := range verbs {
		if answer := exchange(t, "unix", path, post("/v1/"+string(verb), "")); !strings.HasPrefix(answer, "HTTP/1.1 200") {
			t.Errorf("%s without a body gives %q", verb, answer)
		}
	}
}

func TestHistoryGoesThroughAsItIs(t *testing.T) {
	f := newFake()
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	for id := range int64(30) {
		f.past = append(f.past, Past{ID: 30 - id, Reason: "operator", By: "uid 0", Began: at.Add(-time.Duration(id) * time.Hour), Outcome: Done, PhasesMS: map[string]int64{"draining": 7}})
	}
	c := NewClient(serveFake(t, f, Options{}))
	for name, q := range map[string]struct {
		ask         HistoryQuery
		first, last int
	}{
		"the newest":     {HistoryQuery{}, 0, DefaultHistory},
		"so many":        {HistoryQuery{Limit: 3}, 0, 3},
		"since":          {HistoryQuery{Since: at.Add(-5 * time.Hour)}, 0, 6},
		"one":            {HistoryQuery{ID: 25}, 5, 6},
		"one too old":    {HistoryQuery{ID: 25, Since: at}, 0, 0},
		"more than fit":  {HistoryQuery{Limit: MostHistory}, 0, 30},
		"in another way": {HistoryQuery{Since: at.Add(-5 * time.Hour).In(time.FixedZone("", 3600))}, 0, 6},
	} {
		got, err := c.History(t.Context(), q.ask)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(append([]Past{}, f.past[q.first:q.last]...), got); d != "" {
			t.Errorf("%s (-kept +received):\n%s", name, d)
		}
	}
}

func FuzzHistoryQuery(f *testing.F) {
	f.Add("limit=3&since=2026-11-24T03:00:00Z&id=7")
	f.Add("limit=1000")
	f.Add("since=2026-11-24T03:00:00%2B01:00")
	f.Add("id=%00")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q, err := historyQueryOf(values)
		if err != nil {
			return
		}
		again, err := historyQueryOf(q.values())
		if err != nil || again.Limit != q.Limit || again.ID != q.ID || again.Since.Unix() != q.Since.Unix() {
			t.Errorf("%q is %+v, written and read again %+v, %v", query, q, again, err)
		}
	})
}
