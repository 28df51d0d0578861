package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"autoglm-sidecar/supervisor/admin"
	"autoglm-sidecar/supervisor/config"
)

// said is what one run of the command line gave.
type said struct {
	code        int
	out, errors string
}

// say runs the command line as a user whose runtime directory is dir, on a machine that has no other sidecar, so that
// none is ever restarted by a test.
func say(t *testing.T, dir string, args ...string) said {
	t.Helper()
	h := config.Host{UID: 1000, Root: "/nowhere", Getenv: func(name string) string {
		return map[string]string{"XDG_RUNTIME_DIR": dir, "HOME": dir}[name]
	}}
	var out, errors bytes.Buffer
	code := execute(t.Context(), args, &out, &errors, h)
	return said{code: code, out: out.String(), errors: errors.String()}
}

// fake is a Backend that follows a script: each Follow goes one step on.
type fake struct {
	mu      sync.Mutex // guards all that follows
	status  admin.Status
	refuse  error
	begun   admin.Restart
	steps   []admin.Restart
	asked   []admin.RestartRequest
	after   func(*admin.Status) // what becomes of the status when an upgrade has begun
	files   []string            // what was in the files that upgrades came with
	said    []admin.Word
	taken   admin.Taken
	then    []admin.Status // what follows the status before, one a question
	past    []admin.Past
	touched admin.Touched
	query   admin.HistoryQuery
}

func (f *fake) Status() admin.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.status
	if len(f.then) > 0 {
		f.status, f.then = f.then[0], f.then[1:]
	}
	return now
}

func (f *fake) Touched(_ context.Context, id int64) (admin.Touched, error) {
	if f.touched.Restart.ID != id {
		return admin.Touched{}, &admin.Refusal{Code: admin.UnknownRestart, Message: fmt.Sprintf("restart %d is not known here", id)}
	}
	return f.touched, nil
}

func (f *fake) Numbers() admin.Numbers { return admin.Numbers{Status: f.Status()} }

func (f *fake) Config() admin.Config {
	return admin.Config{Text: "name: a # default\n", Settings: []byte(`{"name":"a"}`), From: map[string]string{"name": "default"}}
}

func (f *fake) Restart(_ context.Context, r admin.RestartRequest) (admin.Restart, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r)
	return f.begun, f.refuse
}

func (f *fake) Follow(ctx context.Context, _, after int64) (admin.Restart, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.steps) == 0 {
		<-ctx.Done()
		return f.begun, nil
	}
	next := f.steps[0]
	f.steps = f.steps[1:]
	next.Revision = after + 1
	return next, nil
}

func (f *fake) Upgrade(_ context.Context, r admin.UpgradeRequest) (admin.Upgrade, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := "its own"
	if r.File != nil {
		b, err := io.ReadAll(r.File)
		if err != nil {
			return admin.Upgrade{}, nil, err
		}
		text = string(b)
	}
	f.files = append(f.files, text)
	begin := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.after(&f.status)
	}
	return admin.Upgrade{Number: 1, From: f.status.Version, To: text}, begin, f.refuse
}

func (f *fake) Say(_ context.Context, w admin.Word) (admin.Taken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, w)
	return f.taken, f.refuse
}

func (f *fake) History(_ context.Context, q admin.HistoryQuery) ([]admin.Past, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.query = q
	return q.Pick(f.past), f.refuse
}

// running serves the backend as the user's sidecar "default" and returns the user's runtime directory.
func running(t *testing.T, f *fake) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "autoglm-sidecar", "default.sock")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- admin.ServeControl(ctx, l, f, admin.Options{Log: slog.New(slog.DiscardHandler)}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		os.RemoveAll(dir)
	})
	return dir
}

func TestWhatIsWrongIsSaidOnceAndClearly(t *testing.T) {
	const dir = "/nowhere"
	const tried = "no sidecar is running (tried /nowhere/autoglm-sidecar/default.sock: no such socket; " +
		"/nowhere/run/autoglm-sidecar/default.sock: no such socket); start one with autoglm-sidecar run, or name its socket with --control\n"
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"frobnicate", exitUsage, "unknown command \"frobnicate\" for \"autoglm-sidecar\"; see autoglm-sidecar --help\n"},
		{"run --drian 3s", exitUsage, "unknown flag: --drian; see autoglm-sidecar run --help\n"},
		{"run --drain 3", exitUsage, "invalid argument \"3\" for \"--drain\" flag: has no unit; write 3s if seconds are meant; see autoglm-sidecar run --help\n"},
		{"status now", exitUsage, "unknown command \"now\" for \"autoglm-sidecar status\"; see autoglm-sidecar status --help\n"},
		{"run vllm serve M --uds {socket}", exitUsage, "the worker's command comes after --; type: autoglm-sidecar run -- vllm …\n"},
		{"run vllm serve M --api-key CANARY", exitUsage, "the worker's command comes after --; type: autoglm-sidecar run -- vllm …\n"},
		{"run --listen :1 --listen unix:/f vllm", exitUsage, "the worker's command comes after --; type: autoglm-sidecar run --listen :1 --listen unix:/f -- vllm\n"},
		{"run --name a KEY=CANARY vllm", exitUsage, "the worker's command comes after --; type: autoglm-sidecar run --name a -- …\n"},
		{
			"run --name gpu0 -- vllm serve M", exitUsage,
			"COMMAND does not say where the worker shall listen: it has neither {port} nor {socket}, and there is no --upstream; " +
				"type: autoglm-sidecar run --name gpu0 -- vllm … --uds {socket}\n",
		},
		{
			"run --drain 0s --max-connections 0 --upstream :1", exitUsage,
			"2 settings are wrong:\n  --drain 0: must be longer than 0\n  --max-connections 0: must be between 1 and 65536\n",
		},
		{"status", exitNotRunning, tried},
		{"restart", exitNotRunning, tried},
		{"upgrade", exitNotRunning, tried},
		{"upgrade /nowhere/bin", exitUsage, "upgrade: open /nowhere/bin: no such file or directory\n"},
		{"restart --wait --now --json", exitNotRunning, tried},
		{
			"status --control /nowhere/x.sock", exitNotRunning,
			"no sidecar is running (tried /nowhere/x.sock: no such socket); start one with autoglm-sidecar run --control /nowhere/x.sock, or name another socket\n",
		},
		{"status --name GPU", exitUsage, "--name \"GPU\": a name has 1 to 32 characters of a-z, 0-9 and -\n"},
	} {
		got := say(t, dir, strings.Fields(c.line)...)
		if got.code != c.code || got.errors != program+": "+c.want || got.out != "" {
			t.Errorf("%s\n got %d %q, stdout %q\nwant %d %q", c.line, got.code, got.errors, got.out, c.code, program+": "+c.want)
		}
	}
}

func TestHelpNamesExitCodes(t *testing.T) {
	for _, line := range []string{"--help", "run --help", "status --help", "restart --help", "upgrade --help"} {
		got := say(t, "/nowhere", strings.Fields(line)...)
		if got.code != exitDone || !strings.Contains(got.out, exitHelp) || got.errors != "" {
			t.Errorf("%s gives %d, stderr %q, and lacks the exit codes:\n%s", line, got.code, got.errors, got.out)
		}
	}
}
