package double

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"autoglm-sidecar/gpu"
)

// library is the double with a program that has loaded it and tells what the first GPU shows.
type library struct {
	t       *testing.T
	ask     io.WriteCloser
	answers *bufio.Reader
}

// loaded builds both, and lets the library read the state at path.
func loaded(t *testing.T, path string) *library {
	t.Helper()
	dir := t.TempDir()
	so, err := Build(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "look")
	if said, err := exec.Command("cc", "-o", program, filepath.Join("testdata", "look.c"), "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("compile the program that looks: %v\n%s", err, said)
	}
	look := exec.Command(program, so)
	look.Env = append(os.Environ(), Variable+"="+path)
	l := &library{t: t}
	if l.ask, err = look.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := look.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := look.Start(); err != nil {
		t.Fatal(err)
	}
	l.answers = bufio.NewReader(out)
	t.Cleanup(func() {
		l.ask.Close()
		if err := look.Wait(); err != nil {
			t.Errorf("the program that looks: %v", err)
		}
	})
	return l
}

// shows is what the library says now: "USED:PID=BYTES,...".
func (l *library) shows() string {
	l.t.Helper()
	io.WriteString(l.ask, "\n")
	answer, err := l.answers.ReadString('\n')
	if err != nil {
		l.t.Fatalf("read what the library shows: %v", err)
	}
	return strings.TrimSuffix(answer, "\n")
}

// sleeper is a process that lives until it is killed. kill leaves a zombie, reap takes it away.
func sleeper(t *testing.T) (o Owner, kill, reap func()) {
	t.Helper()
	c := exec.Command("sleep", "1h")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	reap = sync.OnceFunc(func() { c.Wait() })
	t.Cleanup(func() { c.Process.Kill(); reap() })
	o, err := OwnerOf(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return o, func() { c.Process.Kill() }, reap
}

func change(t *testing.T, path string, how func(m *Memory)) {
	t.Helper()
	err := Update(path, func(s *State) error {
		if len(s.GPUs) == 0 {
			s.GPUs = []GPU{{Memory: Memory{UUID: "GPU-x", Total: 1000}}}
		}
		how(&s.GPUs[0].Memory)
		return nil
	})
	if err != nil {
		t.Error(err) // not Fatal: it may be called beside the test
	}
}

// patience is how long what must happen is waited for; forLong stands for memory that isn't given back while a test runs.
const (
	patience = 20 * time.Second
	forLong  = time.Hour
)

// await asks until the answer is the one that is wanted.
func (l *library) await(want string) {
	l.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		got := l.shows()
		if got == want {
			return
		}
		if time.Since(began) > patience {
			l.t.Fatalf("the library shows %s, want %s", got, want)
		}
	}
}

// The memory of a process that is killed: listed while it lives, then used by nobody, then gone. Nobody writes the file meanwhile.
func TestMemoryOutlivesItsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	const release = 500 * time.Millisecond
	owner, kill, _ := sleeper(t)
	hidden, killHidden, reapHidden := sleeper(t)
	elsewhere := owner
	elsewhere.Start++ // another process had this PID before
	change(t, path, func(m *Memory) {
		m.Unowned = 1
		m.Owned = []Owned{
			{Owner: owner, Listed: owner.PID, Bytes: 20, Release: release},
			{Owner: hidden, Bytes: 300, Release: forLong},
			{Owner: elsewhere, Listed: owner.PID, Bytes: 4000},
		}
	})
	l := loaded(t, path)
	if got, want := l.shows(), fmt.Sprintf("321:%d=20", owner.PID); got != want {
		t.Fatalf("while all live the library shows %s, want %s", got, want)
	}
	seen := time.Now()
	change(t, path, func(*Memory) {}) // the owners are seen
	kill()
	l.await("321:") // a zombie has nothing, and isn't listed
	l.await("301:")
	if took := time.Since(seen); took < release-10*time.Millisecond { // it counts in whole ones
		t.Errorf("the driver had it back after %v, want %v", took, release)
	}
	killHidden()
	reapHidden()
	l.await("301:")
}

// It counts when an owner was seen last, so who loads the library later doesn't begin to wait anew; nor does who changes the file.
func TestAllAgreeWhenMemoryIsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	owner, kill, reap := sleeper(t)
	const release = 400 * time.Millisecond
	var seen time.Duration
	change(t, path, func(m *Memory) { m.Owned = []Owned{{Owner: owner, Listed: owner.PID, Bytes: 7, Release: release}} })
	change(t, path, func(m *Memory) { seen = m.Owned[0].Seen })
	change(t, path, func(m *Memory) {
		if now := monotonic(); m.Owned[0].Seen < seen || m.Owned[0].Seen > now || seen < now-patience {
			t.Errorf("at %v an owner was seen at %v, then at %v", now, seen, m.Owned[0].Seen)
		}
		seen = m.Owned[0].Seen
	})
	kill()
	reap()
	change(t, path, func(m *Memory) {
		if len(m.Owned) != 1 || m.Owned[0].Seen < seen || m.Used() != 7 {
			t.Errorf("of one who ended, seen at %v, there is %+v, %d used", seen, m.Owned, m.Used())
		}
	})
	time.Sleep(release) // the memory's own time
	if got := loaded(t, path).shows(); got != "0:" {
		t.Errorf("the library shows %s after the release was over", got)
	}
	change(t, path, func(m *Memory) {
		if len(m.Owned) != 0 || m.Used() != 0 {
			t.Errorf("what the driver has back is still in the file: %+v", m.Owned)
		}
	})
}

func TestWhatIsWrittenCanBeRead(t *testing.T) {
	in := Instance{GI: 3, CI: 1, Memory: Memory{UUID: "MIG-x", Total: 10, Owned: []Owned{{Owner: Owner{5, 6}, Bytes: 1}}}}
	want := State{Driver: "1.2", CUDA: 12040, Init: 9, Delay: 3 * time.Second, GPUs: []GPU{{
		Memory: Memory{
			UUID: "GPU-x", Name: "A card", Total: 80, Reserved: 3, Unowned: 5, Error: 15, Denied: true,
			Processes: []Process{{PID: 7, Bytes: -1}, {PID: 8, Bytes: 2, MPS: true}},
			Owned:     []Owned{{Owner: Owner{7, 99}, Listed: 4194311, Bytes: 1 << 40, Release: time.Second, Seen: time.Minute}},
		},
		Bus: "0000:02:00.0", Utilisation: 1, Temperature: 2, Clocks: 1 << 60, Recovery: gpu.RecoverDrainReset, Uncorrected: 4, Wait: 5,
		Rows: Rows{1, 2, true, true}, Xids: []Xid{{Number: 1, Code: 79}, {Number: 2, Code: 31, In: &Instance{GI: 3, CI: 1}}},
		Instances: []Instance{in},
	}, {Memory: Memory{UUID: "GPU-y"}, Bus: "0000:03:00.0"}}}
	path := filepath.Join(t.TempDir(), "state")
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("read %v, %s", err, diff)
	}
	for text, says := range map[string]string{
		"":                          "torn",
		"init 9\n":                  "torn",
		"init 9":                    "torn",
		"total 9\nend\n":            "of no GPU",
		"init x\nend\n":             "line 1",
		"gpu A\nproc 1\nend\n":      "line 2",
		"gpu A\nproc 1 2 3\nend\n":  "has 3 values, not 2",
		"gpu A\nleak 1\nend\n":      "not known",
		"gpu A\nowned 1 2 3\nend\n": "line 2",
	} {
		if _, err := parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q gives %v, want %q", text, err, says)
		}
	}
	if _, err := Read(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that isn't there gives %v", err)
	}
}

// Of many who change the file at once none undoes what another did, and a change that fails does nothing.
func TestChangesTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				change(t, path, func(m *Memory) { m.Unowned++ })
			}
		})
	}
	all.Wait()
	no := errors.New("no")
	if err := Update(path, func(s *State) error { s.GPUs[0].Unowned = 0; return no }); !errors.Is(err, no) {
		t.Errorf("a change that fails gives %v", err)
	}
	if s, err := Read(path); err != nil || s.GPUs[0].Unowned != 100 {
		t.Errorf("after 100 changes %v, %+v", err, s)
	}
	if err := os.WriteFile(path, []byte("garbage\nend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Update(path, func(*State) error { return nil }); err == nil {
		t.Error("a file of another kind was changed")
	}
}
