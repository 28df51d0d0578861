package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// fake is a Backend whose restart is moved on by the test.
type fake struct {
	mu       sync.Mutex // guards all that follows
	status   Status
	numbers  Numbers // less its Status
	refuse   error
	asked    []RestartRequest
	upgrades []string
	restart  Restart
	said     []Word
	past     []Past
	touched  Touched
	changed  chan struct{} // closed and replaced with each change
}

func newFake() *fake { return &fake{changed: make(chan struct{})} }

func (f *fake) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fake) Numbers() Numbers {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.numbers
	n.Status = f.status
	return n
}

func (f *fake) Config() Config {
	return Config{Text: "name: a # default\n", Settings: []byte(`{"name":"a"}`), From: map[string]string{"name": "default"}}
}

func (f *fake) Restart(_ context.Context, r RestartRequest) (Restart, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r)
	if f.refuse != nil {
		return Restart{}, f.refuse
	}
	joined := f.restart.ID != 0 && !f.restart.Ended()
	if !joined {
		f.restart = Restart{ID: f.restart.ID + 1, Revision: 1, Phase: "draining", FromLife: 7, Ahead: f.status.Ahead}
	}
	begun := f.restart
	begun.Joined = joined
	return begun, nil
}

func (f *fake) Follow(ctx context.Context, id, after int64) (Restart, error) {
	for {
		f.mu.Lock()
		r, changed := f.restart, f.changed
		f.mu.Unlock()
		if r.ID != id {
			return Restart{}, &Refusal{Code: UnknownRestart, Message: "there was no such restart"}
		}
		if r.Revision > after {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, nil
		}
	}
}

// Upgrade notes what is in the file, which nobody can read any more when it returns.
func (f *fake) Upgrade(_ context.Context, r UpgradeRequest) (Upgrade, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := "its own"
	if r.File != nil {
		b, err := io.ReadAll(r.File)
		if err != nil {
			return Upgrade{}, nil, err
		}
		text = string(b)
	}
	f.upgrades = append(f.upgrades, r.By+": "+text)
	if f.refuse != nil {
		return Upgrade{}, nil, f.refuse
	}
	begin := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.status.Upgrades.Tried++
		f.status.Version = text
	}
	return Upgrade{Number: f.status.Upgrades.Tried + 1, From: f.status.Version, To: text}, begin, nil
}

func (f *fake) Say(_ context.Context, w Word) (Taken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, w)
	return Taken{Already: len(f.said) > 1, Life: 7}, f.refuse
}

func (f *fake) Touched(_ context.Context, id int64) (Touched, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.touched.Restart.ID != id {
		return Touched{}, &Refusal{Code: UnknownRestart, Message: "there was no such restart"}
	}
	return f.touched, nil
}

func (f *fake) History(_ context.Context, q HistoryQuery) ([]Past, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return q.Pick(f.past), f.refuse
}

func (f *fake) heard() []Word {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Word(nil), f.said...)
}

// move changes the restart under way and wakes those who follow it.
func (f *fake) move(change func(*Restart)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.restart)
	f.restart.Revision++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) requests() []RestartRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]RestartRequest(nil), f.asked...)
}

// shortDir is a directory whose path leaves room for a socket's: that of T.TempDir grows with the test's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// listen opens a socket that is for its owner and group and stays when it closes, as the control socket does.
func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	return l
}

// serveFake serves the backend on a real control socket and returns its path.
func serveFake(t *testing.T, f *fake, o Options) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "run", "a.sock")
	l := listen(t, path)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	runServer(t, func(ctx context.Context) error { return ServeControl(ctx, l, f, o) })
	return path
}

// runServer runs a server to the end of the test, where it must stop without an error.
func runServer(t *testing.T, server func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
}

// exchange sends one raw request and returns all of the answer.
func exchange(t *testing.T, network, addr, request string) string {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("%q: %v after %q", request, err, answer)
	}
	return string(answer)
}
