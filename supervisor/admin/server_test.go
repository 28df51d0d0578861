package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStatusGoesThroughAsItIs(t *testing.T) {
	f := newFake()
	f.status = Status{
		Name: "gpu0", Version: "1", Listen: "[::]:8000", Keeper: 10, Runner: 11, TakeOvers: 2,
		Since: time.Date(2026, 11, 1, 2, 3, 4, 0, time.UTC), Phase: "serving", Ready: true, Life: 3,
		Worker:  Worker{Driver: "child", PID: 12, Upstream: "127.0.0.1:1", Since: time.Date(2026, 11, 1, 2, 3, 5, 0, time.UTC)},
		Gate:    Gate{State: "open", InFlight: 5, LongestHoldMS: 2000},
		Streams: Streams{Open: 5, OldestMS: 41000, Outcomes: map[string]int64{"complete": 9}},
		Ahead:   AheadOf(5, 41*time.Second, 2*time.Minute, 14*time.Second),
	}
	got, err := NewClient(serveFake(t, f, Options{})).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f.status, got); d != "" {
		t.Errorf("status (-sent +received):\n%s", d)
	}
}

func TestWhatLiesAhead(t *testing.T) {
	const drain, start = 2 * time.Minute, 14 * time.Second
	for _, c := range []struct {
		streams int
		oldest  time.Duration
		want    time.Duration
	}{
		{0, 0, start},
		{1, 41 * time.Second, 55 * time.Second},
		{9, time.Hour, drain + start},
	} {
		if got := AheadOf(c.streams, c.oldest, drain, start).WaitMS; got != c.want.Milliseconds() {
			t.Errorf("%d streams, the oldest %v: new ones wait about %d ms, want %v", c.streams, c.oldest, got, c.want)
		}
	}
}

func TestRestartIsFollowedToItsEnd(t *testing.T) {
	f := newFake()
	c := NewClient(serveFake(t, f, Options{}))
	begun, err := c.Restart(t.Context(), RestartRequest{})
	if err != nil || begun.ID != 1 || begun.Joined {
		t.Fatalf("restart gives %+v, %v; want a new one", begun, err)
	}
	if joined, err := c.Restart(t.Context(), RestartRequest{}); err != nil || joined.ID != begun.ID || !joined.Joined {
		t.Fatalf("a restart asked for during a restart gives %+v, %v; want the one under way", joined, err)
	}

	steps := []func(*Restart){
		func(r *Restart) { r.Phase = "stopping" },
		func(r *Restart) { r.Phase = "starting" },
		func(r *Restart) { r.Phase, r.Outcome, r.ToLife = "serving", Done, 8 },
	}
	// Only the answer to the one who asked tells how it was asked for.
	begun.Now, begun.Joined, begun.Ahead = true, true, AheadOf(2, time.Second, 3*time.Second, 4*time.Second)
	var seen []string
	f.move(steps[0])
	ended, err := c.Wait(t.Context(), begun, func(r Restart) {
		seen = append(seen, r.Phase)
		if len(seen) < len(steps) {
			f.move(steps[len(seen)])
		}
	})
	if err != nil || ended.Outcome != Done || ended.ToLife != 8 {
		t.Errorf("the end is %+v, %v; want done with life 8", ended, err)
	}
	if !ended.Now || !ended.Joined || ended.Ahead != begun.Ahead {
		t.Errorf("at its end it is no longer known how it was asked for: %+v, want as in %+v", ended, begun)
	}
	if d := cmp.Diff([]string{"stopping", "starting", "serving"}, seen); d != "" {
		t.Errorf("phases seen (-want +got):\n%s", d)
	}
}

func TestWhoAsksIsTakenFromTheSocketAndLogged(t *testing.T) {
	f := newFake()
	var log bytes.Buffer
	path := serveFake(t, f, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if _, err := NewClient(path).Restart(t.Context(), RestartRequest{Now: true, By: "somebody else"}); err != nil {
		t.Fatal(err)
	}
	want := []RestartRequest{{Now: true, By: fmt.Sprintf("uid %d", os.Getuid())}}
	if d := cmp.Diff(want, f.requests()); d != "" {
		t.Errorf("requests (-want +got):\n%s", d)
	}
	for _, part := range []string{`msg="restart asked for"`, fmt.Sprintf("uid=%d", os.Getuid()), fmt.Sprintf("pid=%d", os.Getpid()), "now=true"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %s: %s", part, log.String())
		}
	}
}

func TestOnlyRootAndTheOwnerAct(t *testing.T) {
	for _, c := range []struct {
		uid   uint32
		owner int
		want  bool
	}{
		{0, 1000, true},
		{1000, 1000, true},
		{1001, 1000, false},
		{65534, 1000, false}, // of another user namespace
		{1<<32 - 1, -1, false},
	} {
		if got := (Peer{UID: c.uid}).mayAct(c.owner); got != c.want {
			t.Errorf("uid %d at a sidecar of uid %d may act: %v, want %v", c.uid, c.owner, got, c.want)
		}
	}
}

func TestTheGroupLooksAndDoesNotAct(t *testing.T) {
	f := newFake()
	f.status.Name = "gpu0"
	var log bytes.Buffer
	// The handler behind a peer that is neither root nor the owner.
	h := control{Backend: f, log: slog.New(slog.NewTextHandler(&log, nil)), owner: 1000}.handler()
	as := func(method, path string, ctx context.Context) (int, string) {
		w := newRecorder()
		h.ServeHTTP(w, newRequest(t, ctx, method, path))
		return w.status, w.body.String()
	}
	member := context.WithValue(t.Context(), peerKey{}, Peer{UID: 1001, PID: 99})
	if status, body := as("GET", "/v1/status", member); status != http.StatusOK || !strings.Contains(body, `"name":"gpu0"`) {
		t.Errorf("a member of the group gets %d %s, want the status", status, body)
	}
	for name, ctx := range map[string]context.Context{"a member of the group": member, "a peer that is not known": t.Context()} {
		status, body := as("POST", "/v1/restart", ctx)
		if status != http.StatusForbidden || !strings.Contains(body, `"code":"not_permitted"`) {
			t.Errorf("%s asks for a restart and gets %d %s, want not_permitted", name, status, body)
		}
	}
	if asked := f.requests(); len(asked) != 0 {
		t.Errorf("the backend was asked %+v", asked)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "uid=1001") {
		t.Errorf("the attempt is not logged with its uid: %s", log.String())
	}
}

// post and get are requests as they go over the wire.
func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func get(method, path string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
}

func TestBadRequests(t *testing.T) {
	f := newFake()
	path := serveFake(t, f, Options{})
	post := func(body string) string { return post("/v1/restart", body) }
	for _, c := range []struct{ request, status, code string }{
		{post(`{"now":1}`), "400", BadRequest},
		{post(`{"now":true`), "400", BadRequest},
		{post(`{"now":true}{}`), "400", BadRequest},
		{post(`{"now":true,"command":["sh"]}`), "400", BadRequest},
		{post(`{"By":"root"}`), "400", BadRequest},
		{post(`[]`), "400", BadRequest},
		{post(`{"now":` + strings.Repeat(" ", mostBody) + `true}`), "400", BadRequest},
		{get("GET", "/v1/restart"), "405", MethodNotAllowed},
		{get("DELETE", "/v1/status"), "405", MethodNotAllowed},
		{get("POST", "/v1/restart/1"), "405", MethodNotAllowed},
		{get("GET", "/v1/restart/x"), "400", BadRequest},
		{get("GET", "/v1/restart/1?wait=2m"), "400", BadRequest},
		{get("GET", "/v1/restart/1?wait=-1s"), "400", BadRequest},
		{get("GET", "/v1/restart/1?after=x"), "400", BadRequest},
		{get("GET", "/v1/restart/1?until=now"), "400", BadRequest},
		{get("GET", "/v1/restart/1"), "404", UnknownRestart},
		{get("GET", "/v1/exec"), "404", NotFound},
		{get("GET", "/"), "404", NotFound},
		{"POST /v1/restart HTTP/1.1\r\nHost: x\r\nConnection: close\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n", "403", NotPermitted},
	} {
		answer := exchange(t, "unix", path, c.request)
		if !strings.HasPrefix(answer, "HTTP/1.1 "+c.status) || !strings.Contains(answer, `{"error":{"code":"`+c.code+`","message":"`) {
			t.Errorf("%.80q\n got %q\nwant %s with %s", c.request, answer, c.status, c.code)
		}
	}
	if asked := f.requests(); len(asked) != 0 {
		t.Errorf("a bad request reached the backend: %+v", asked)
	}
	// No body at all is a restart with nothing special.
	if answer := exchange(t, "unix", path, post("")); !strings.HasPrefix(answer, "HTTP/1.1 202") || !strings.Contains(answer, "Location: /v1/restart/1") {
		t.Errorf("an empty body gives %q, want 202 and where to follow it", answer)
	}
}

func TestARefusalReachesTheClientWithItsCode(t *testing.T) {
	f := newFake()
	f.refuse = &Refusal{Code: NoDriver, Message: "somebody else runs the worker"}
	c := NewClient(serveFake(t, f, Options{}))
	_, err := c.Restart(t.Context(), RestartRequest{})
	if r, ok := errors.AsType[*Refusal](err); !ok || r.Code != NoDriver || r.Message != "somebody else runs the worker" {
		t.Errorf("got %v, want the refusal", err)
	}
	f.mu.Lock()
	f.refuse = errors.New("disk full")
	f.mu.Unlock()
	if _, err := c.Restart(t.Context(), RestartRequest{}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v, want the reason", err)
	}
	if _, err := c.Follow(t.Context(), 99, 0, 0); err == nil || !strings.Contains(err.Error(), "there was no such restart") {
		t.Errorf("got %v, want that the restart is not known", err)
	}
}

func TestHealthQuestions(t *testing.T) {
	f := newFake()
	f.status = Status{Phase: "starting", Life: 1, Gate: Gate{State: "holding"}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	runServer(t, func(ctx context.Context) error { return ServeHealth(ctx, l, f) })
	ask := func(method, path string) string {
		return exchange(t, "tcp", l.Addr().String(), method+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	}
	for _, c := range []struct{ method, path, status, body string }{
		{"GET", "/livez", "200", "ok\n"},
		{"GET", "/readyz", "503", "not ready: life 1 is starting, the gate is holding\n"},
		{"POST", "/livez", "405", MethodNotAllowed},
		{"GET", "/v1/status", "404", NotFound},
	} {
		if answer := ask(c.method, c.path); !strings.HasPrefix(answer, "HTTP/1.1 "+c.status) || !strings.Contains(answer, c.body) {
			t.Errorf("%s %s gives %q, want %s with %q", c.method, c.path, answer, c.status, c.body)
		}
	}
	f.mu.Lock()
	f.status.Ready = true
	f.mu.Unlock()
	if answer := ask("GET", "/readyz"); !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Errorf("/readyz gives %q, want 200", answer)
	}
}

// pipes is a listener of in-memory connections, for fake time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

func TestALongPollLastsAsLongAsItWasAskedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.restart = Restart{ID: 1, Revision: 4}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- ServeControl(ctx, l, f, Options{Log: slog.New(slog.DiscardHandler)}) }()
		c := l.dial()
		began := time.Now()
		io.WriteString(c, "GET /v1/restart/1?after=4&wait=50s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		answer, err := io.ReadAll(c)
		if took := time.Since(began); err != nil || took != 50*time.Second || !strings.Contains(string(answer), `"revision":4`) {
			t.Errorf("after %v came %q, %v; want revision 4 after 50s", took, answer, err)
		}

		// And it ends with the server.
		c = l.dial()
		io.WriteString(c, "GET /v1/restart/1?after=4&wait=50s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		synctest.Wait()
		began = time.Now()
		cancel()
		answer, err = io.ReadAll(c)
		if took := time.Since(began); err != nil || took > time.Second || !strings.Contains(string(answer), `"revision":4`) {
			t.Errorf("%v after the server's end came %q, %v; want an answer at once", took, answer, err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
}

func TestASilentPeerIsClosed(t *testing.T) {
	for name, sent := range map[string]string{
		"nothing":     "",
		"half a head": "GET /v1/status HTTP/1.1\r\nHost:",
		"half a body": "POST /v1/restart HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
		"no body":     "GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
		"no more":     "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newPipes()
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- ServeControl(ctx, l, newFake(), Options{Log: slog.New(slog.DiscardHandler)}) }()
			c := l.dial()
			began := time.Now()
			go io.WriteString(c, sent)
			io.Copy(io.Discard, c)
			if took := time.Since(began); took > time.Minute {
				t.Errorf("a peer that sends %s is kept for %v", name, took)
			}
			c.Close()
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- ServeControl(ctx, l, newFake(), Options{Log: slog.New(slog.DiscardHandler)}) }()
		var open []net.Conn
		for range mostConns {
			open = append(open, l.dial())
		}
		taken := make(chan net.Conn, 1)
		go func() { taken <- l.dial() }()
		synctest.Wait()
		select {
		case <-taken:
			t.Errorf("connection %d was accepted beside %d others", mostConns+1, mostConns)
		default:
		}
		open[0].Close()
		(<-taken).Close()
		for _, c := range open[1:] {
			c.Close()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
}

// recorder and newRequest stand in for a connection whose peer the test chooses.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder                    { return &recorder{header: http.Header{}, status: http.StatusOK} }
func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func newRequest(t *testing.T, ctx context.Context, method, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://x"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
