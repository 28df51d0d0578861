package child

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"autoglm-sidecar/supervisor"
)

// environOf reads the environment of a process, as anybody who may can.
func environOf(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

func TestAWorkerGetsNothingThatIsMeantForUsAlone(t *testing.T) {
	given := []string{
		"NOTIFY_SOCKET=/run/systemd/notify", "LISTEN_FDS=1", "LISTEN_PID=2", "LISTEN_FDNAMES=front", "WATCHDOG_USEC=1", "WATCHDOG_PID=2",
		"FDSTORE=4", "CREDENTIALS_DIRECTORY=/run/credentials/x", "MEMORY_PRESSURE_WATCH=/x", "MEMORY_PRESSURE_WRITE=x",
		"AUTOGLM_SIDECAR_NO_KEEPER=0", "AUTOGLM_SIDECAR_SEED=1", "AUTOGLM_SIDECAR_LIFE=other/9", "PATH=" + os.Getenv("PATH"), "MINE=yes", "EMPTY=",
	}
	r := newRig(t, func(o *Options) { o.Environment = given })
	var names []string
	for _, entry := range environOf(t, r.begin(7).PID()) {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
	}
	if want := []string{lifeVariable, noteVariable, upstreamVariable, "PATH", "MINE", "EMPTY"}; !slices.Equal(names, want) {
		t.Errorf("the worker's environment has %v, want %v", names, want)
	}
}

// asNobody is the credential of a user that may do nothing, with a further group.
func asNobody(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can run a worker as somebody else")
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{4, 27}}
}

// A worker that runs as somebody else can be spoken to at a socket that it makes itself, prints, opens its own stdout by
// name, is recognised and killed.
func TestAWorkerRunsAsAnotherUser(t *testing.T) {
	user := asNobody(t)
	dir, err := os.MkdirTemp("", "user")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "w"), 0o700), os.Chown(filepath.Join(dir, "w"), 65534, 65534)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "worker") // the test's own directory is closed to others
	copyFile(t, program, must(os.Executable()))
	socket := filepath.Join(dir, "w", "s")
	r := newRig(t, func(o *Options) {
		o.User = user
		o.Upstream = supervisor.Upstream{Network: "unix", Address: socket}
		o.Command = func(supervisor.Upstream) []string {
			return []string{"/bin/sh", "-c", `id; echo by name > /dev/stdout; exec "$0" "$@"`, program, workerRole, "listen:unix:" + socket, "stay"}
		}
	})
	p := r.begin(1)
	if err := p.Ready(soon(t), func(string) {}); err != nil {
		t.Fatalf("it does not get ready: %v", err)
	}
	status := string(must(os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/status")))
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "Groups:\t4 27 \n"} {
		if !strings.Contains(status, want) {
			t.Errorf("its status lacks %q:\n%s", want, status)
		}
	}
	eventually(t, "its output", func() bool {
		return strings.Contains(r.out.String(), "uid=65534") && strings.Contains(r.out.String(), "by name\n")
	})
	found, ok, err := r.Find(soon(t), 1, 0)
	if err != nil || !ok || found.PID() != p.PID() {
		t.Errorf("it is not found again: %v, %v", ok, err)
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// scoreOf reads the oom_score_adj of a process.
func scoreOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	return atoi(strings.TrimSpace(string(text)))
}

func TestAWorkerHasTheOOMScoreThatWeWereStartedWith(t *testing.T) {
	before := must(OOMScore())
	// To lower it takes a privilege. To raise it and go back doesn't, and is the same to a worker.
	if err := SetOOMScore(os.Getpid(), before+300); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { SetOOMScore(os.Getpid(), before) })
	child := filepath.Join(t.TempDir(), "child")
	r := newRig(t, func(o *Options) {
		o.OOMScore = &before
		o.Command = worker("child:file:"+child+",stay", "stay")
	})
	p := r.begin(1)
	if got := scoreOf(t, p.PID()); got != before {
		t.Errorf("the worker's oom_score_adj is %d, want %d", got, before)
	}
	if got := scoreOf(t, pidFrom(t, child)); got != before {
		t.Errorf("that of what it starts is %d, want %d", got, before)
	}
	if got := must(OOMScore()); got != before+300 {
		t.Errorf("our own is %d afterwards, want %d", got, before+300)
	}
}

func TestLastLinesAreShownWithoutSecrets(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Redact = func(line string) string { return strings.ReplaceAll(line, "CANARY", "REDACTED") }
		o.Command = worker("say:args api_key CANARY", "exit:1")
	})
	exit := exitOf(t, r.begin(1))
	if want := []string{"args api_key REDACTED"}; !slices.Equal(exit.LastLines, want) {
		t.Errorf("last lines are %q, want %q", exit.LastLines, want)
	}
}
