package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/health"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/supervisor"
	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"

	"github.com/google/go-cmp/cmp"
)

// sidecar is a whole daemon in this process, without a keeper.
type sidecar struct {
	*admin.Client
	address string
	leave   chan struct{}
	ended   chan error
}

// run starts a sidecar for a worker that somebody else runs at upstream.
func run(t *testing.T, upstream string) *sidecar {
	t.Helper()
	dir := t.TempDir()
	s := config.Defaults()
	s.Name, s.Listen, s.HTTP, s.Upstream = "test", []string{"127.0.0.1:0"}, config.HTTPOff, upstream
	s.Control, s.State, s.Drain = filepath.Join(dir, "control.sock"), dir, 5*time.Second
	settings, err := s.Resolve(config.ThisHost())
	if err != nil {
		t.Fatal(err)
	}
	c := &sidecar{Client: admin.NewClient(settings.Control), leave: make(chan struct{}), ended: make(chan error, 1)}
	go func() {
		c.ended <- Run(context.WithoutCancel(t.Context()), settings, Options{
			Log: slog.New(slog.DiscardHandler), Version: "test", Output: io.Discard, Leave: c.leave, Hurry: make(chan struct{}),
		})
	}()
	c.address = c.until(t, "it answers", func(s admin.Status) bool { return s.Listen != "" }).Listen
	return c
}

// until asks for the status until it is as wanted.
func (c *sidecar) until(t *testing.T, what string, wanted func(admin.Status) bool) admin.Status {
	t.Helper()
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	late := time.After(10 * time.Second)
	for {
		s, err := c.Status(t.Context())
		if err == nil && wanted(s) {
			return s
		}
		select {
		case err := <-c.ended:
			t.Fatalf("the sidecar ended: %v", err)
		case <-late:
			t.Fatalf("waited in vain until %s: %+v, %v", what, s, err)
		case <-every.C:
		}
	}
}

// worker serves at the address until the returned func is called.
func worker(t *testing.T, address, says string) (at string, stop func()) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, says) })}
	go s.Serve(l)
	return l.Addr().String(), func() { s.Close() }
}

func (c *sidecar) get(ctx context.Context) (body string, status int, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+"/", nil)
	if err != nil {
		return "", 0, err
	}
	q.Close = true
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return "", 0, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), r.StatusCode, err
}

func TestSomebodyElsesWorkerMayGoAndComeBack(t *testing.T) {
	at, stop := worker(t, "127.0.0.1:0", "first")
	_, port, _ := net.SplitHostPort(at)
	c := run(t, "localhost:"+port) // which has two addresses on most machines
	c.until(t, "the gate is open", func(s admin.Status) bool { return s.Gate.State == "open" })
	if body, status, err := c.get(t.Context()); body != "first" || status != 200 || err != nil {
		t.Fatalf("got %q, %d, %v", body, status, err)
	}

	_, err := c.Restart(t.Context(), admin.RestartRequest{})
	if refused, ok := errors.AsType[*admin.Refusal](err); !ok || refused.Code != admin.NoDriver || !strings.Contains(refused.Message, "was not started by this sidecar") {
		t.Errorf("restart: %v, want a refusal with the reason", err)
	}

	stop()
	type answer struct {
		body   string
		status int
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		body, status, err := c.get(t.Context())
		answered <- answer{body, status, err}
	}()
	held := c.until(t, "the request is held", func(s admin.Status) bool { return s.Gate.Held == 1 && s.Phase == "down" })
	if !held.Ready {
		t.Error("not ready, although a request would wait for the worker, which was there before")
	}
	_, stop = worker(t, at, "second")
	defer stop()
	if a := <-answered; a.body != "second" || a.status != 200 || a.err != nil {
		t.Errorf("the held request got %+v", a)
	}

	close(c.leave)
	if err := <-c.ended; err != nil {
		t.Errorf("the sidecar left with %v", err)
	}
	if _, _, err := c.get(t.Context()); err == nil {
		t.Error("somebody still answers after it has left")
	}
}

func TestAPortInUseIsSaid(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	s := config.Defaults()
	s.Listen, s.HTTP, s.Upstream, s.Control, s.State = []string{l.Addr().String()}, config.HTTPOff, "127.0.0.1:1", filepath.Join(dir, "c.sock"), dir
	settings, err := s.Resolve(config.ThisHost())
	if err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), settings, Options{Log: slog.New(slog.DiscardHandler), Output: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}

func TestANameStaysWithTheAddressThatWorks(t *testing.T) {
	one, two, three := kernel.Address{Unix: "1"}, kernel.Address{Unix: "2"}, kernel.Address{Unix: "3"}
	for _, test := range []struct {
		name   string
		all    []kernel.Address
		used   kernel.Address
		failed bool
		want   kernel.Address
	}{
		{"the first time", []kernel.Address{one, two}, kernel.Address{}, false, one},
		{"in another order", []kernel.Address{two, one}, one, false, one},
		{"it failed", []kernel.Address{one, two}, one, true, two},
		{"the last one failed", []kernel.Address{one, two}, two, true, one},
		{"it is no longer one of them", []kernel.Address{two, three}, one, false, two},
		{"the only one failed", []kernel.Address{one}, one, true, one},
	} {
		if got := choose(test.all, test.used, test.failed); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestAddressesThatNeedNoLookingUp(t *testing.T) {
	for to, want := range map[supervisor.Upstream]string{
		{Network: "unix", Address: "/run/w.sock"}:   "unix:/run/w.sock",
		{Network: "tcp", Address: "127.0.0.1:8001"}: "127.0.0.1:8001",
		{Network: "tcp", Address: "[::1]:8001"}:     "[::1]:8001",
	} {
		if got := literal(to).String(); got != want {
			t.Errorf("%v: %q, want %q", to, got, want)
		}
	}
	if got := literal(supervisor.Upstream{Network: "tcp", Address: "worker:8001"}); got != (kernel.Address{}) {
		t.Errorf("a name was taken for an address: %v", got)
	}
}

func TestSomebodyElsesWorkerIsDrainedAndOpened(t *testing.T) {
	at, stop := worker(t, "127.0.0.1:0", "hello")
	defer stop()
	c := run(t, at)
	c.until(t, "the gate is open", func(s admin.Status) bool { return s.Gate.State == "open" })
	for _, w := range []admin.Word{{Verb: admin.Stop}, {Verb: admin.Start}, {Verb: admin.Freeze}, {Verb: admin.Unfreeze}} {
		_, err := c.Say(t.Context(), w)
		if refused, ok := errors.AsType[*admin.Refusal](err); !ok || refused.Code != admin.NoDriver {
			t.Errorf("%s: %v, want a refusal", w.Verb, err)
		}
	}
	if _, err := c.Say(t.Context(), admin.Word{Verb: admin.Drain}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string, 1)
	go func() {
		body, status, err := c.get(context.WithoutCancel(t.Context()))
		answered <- fmt.Sprint(body, " ", status, " ", err)
	}()
	s := c.until(t, "the request is held", func(s admin.Status) bool { return s.Gate.Held == 1 })
	if s.Phase != "draining" || s.State != "holding" || s.Drained == nil || s.Drained.By != fmt.Sprintf("uid %d", os.Getuid()) {
		t.Errorf("drained: %s, %s, by %+v", s.Phase, s.State, s.Drained)
	}
	if _, err := c.Say(t.Context(), admin.Word{Verb: admin.Open}); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got != "hello 200 <nil>" {
		t.Errorf("the held request got %s", got)
	}
	if past, err := c.History(t.Context(), admin.HistoryQuery{}); err != nil || len(past) != 0 {
		t.Errorf("its history: %v, %v", past, err)
	}
	close(c.leave)
	if err := <-c.ended; err != nil {
		t.Error(err)
	}
}

func TestARestartInAdminsWords(t *testing.T) {
	begun := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	got := past(supervisor.Restart{
		ID: 7, Reason: health.Hung, By: "pulse", Why: "no byte for 2m", From: 3, To: 5, Starts: 2, Joined: 1, Begun: begun, Took: 41 * time.Second,
		Spent: supervisor.Spent{supervisor.PhaseDraining: 5 * time.Second}, Open: 212, InTheWay: 2, Result: supervisor.GivenUp, Detail: "halted",
		Tally: supervisor.Tally{Cut: 1, Held: 2, Refused: 3, LongestHold: 4 * time.Second, LongestGap: 5 * time.Second},
	})
	want := admin.Past{
		ID: 7, Reason: "hung", By: "pulse", Why: "no byte for 2m", FromLife: 3, ToLife: 5, Starts: 2, Joined: 1, Began: begun, TookMS: 41_000,
		PhasesMS: map[string]int64{"draining": 5000}, Open: 212, InTheWay: 2, Outcome: admin.GivenUp, Error: "halted",
		Cut: 1, Held: 2, Refused: 3, LongestHoldMS: 4000, LongestGapMS: 5000,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
