package reader

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"autoglm-sidecar/gpu"
)

// running is a Reader in Run, and what it took and logged.
type running struct {
	*Reader
	t    *testing.T
	stop func() // ends Run, and waits for it

	mu   sync.Mutex
	took []gpu.Line
	log  bytes.Buffer
}

// Write is the log's.
func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

func (r *running) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// lines are those that were taken, as texts.
func (r *running) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var texts []string
	for _, l := range r.took {
		switch {
		case l.System != nil:
			texts = append(texts, l.System.Detail)
		case l.Hello != nil:
			texts = append(texts, "hello")
		case l.Sample != nil:
			texts = append(texts, fmt.Sprintf("sample %d", l.Sample.Used))
		case l.Done != 0:
			texts = append(texts, fmt.Sprintf("done %d", l.Done))
		}
	}
	return texts
}

// run has the test's binary run as a character. Back-offs are short, unless the test says otherwise.
func run(t *testing.T, as string, change func(*Options)) *running {
	t.Helper()
	r := &running{t: t}
	o := Options{
		Program: "/proc/self/exe", Environment: environment(as), Log: slog.New(slog.NewTextHandler(r, nil)),
		Take: func(l gpu.Line) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.took = append(r.took, l)
		},
		BackoffMin: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	r.Reader = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(r.stop)
	return r
}

// environment makes the test's binary a character, which doesn't wait a second at its end for races.
func environment(as string) []string {
	return []string{character + "=" + as, "GORACE=atexit_sleep_ms=0"}
}

// once has no second start within the test.
func once(o *Options) { o.BackoffMin, o.BackoffMax = time.Hour, time.Hour }

func (r *running) await(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s: not within 10 s; state %+v, lines %q, log:\n%s", what, r.State(), r.lines(), r.logged())
		}
	}
}

func (r *running) is(kind gpu.SourceKind) func() bool {
	return func() bool { return r.State().Kind == kind }
}

func (r *running) says(line string) func() bool {
	return func() bool { return slices.Contains(r.lines(), line) }
}

// gone says that a process has ended; it may be a zombie where nobody waits for it.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(after, []byte("Z"))
}

func TestAProgramReadsUntilItIsNotNeededAnyMore(t *testing.T) {
	t.Parallel()
	r := run(t, "good", func(o *Options) {
		o.Environment = append(o.Environment, "LD_BIND_NOW=1", "LD_LIBRARY_PATH=/lib", "LD_BIND_NOW=")
	})
	r.await("it reads", r.is(gpu.SourceReads))
	state := r.State()
	if state.PID == 0 || state.Starts != 1 || state.Version != "1.2.3" || state.Text != "" || time.Since(state.Since) > time.Minute {
		t.Errorf("state %+v", state)
	}
	r.await("its environment", r.says("environment "+strings.Join(environment("good"), " ")+" LD_LIBRARY_PATH=/lib"))

	from := time.Now()
	r.stop()
	if took := time.Since(from); took >= ending || !gone(state.PID) {
		t.Errorf("it ended after %v, gone %v; want that it ends with its input", took, gone(state.PID))
	}
	if state := r.State(); state.PID != 0 || state.Kind != gpu.SourceFailed {
		t.Errorf("state after Run %+v", state)
	}
	if log := r.logged(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "level=INFO") || !strings.Contains(log, "version=1.2.3") {
		t.Errorf("the log is\n%s\nwant that it reads, and no more", log)
	}
}

func TestWithoutAnEnvironmentItHasNone(t *testing.T) {
	t.Setenv("READER_SECRET", "1")
	env := filepath.Join(t.TempDir(), "env")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexport -p >"+env+"\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := run(t, "", func(o *Options) { once(o); o.Program, o.Environment = script, nil })
	r.await("it ends", r.is(gpu.SourceFailed))
	if got, err := os.ReadFile(env); err != nil || bytes.Contains(got, []byte("READER_SECRET")) {
		t.Errorf("environment %s, %v", got, err)
	}
}

func TestAKilledProgramIsStartedAgainAndHasItsOrders(t *testing.T) {
	t.Parallel()
	r := run(t, "good", nil)
	r.Order(gpu.Order{Watch: []string{"GPU-1"}, MemoryEvery: time.Second, Now: 5})
	r.Order(gpu.Order{ProcessesEvery: 2 * time.Second})
	const both = `order {"watch":["GPU-1"],"memory_every_ns":1000000000,"processes_every_ns":2000000000}`
	r.await("both orders", r.says(both))
	first := r.State().PID
	r.Order(gpu.Order{Watch: []string{"GPU-2"}, ConditionEvery: 3 * time.Second})
	const all = `order {"watch":["GPU-2"],"memory_every_ns":1000000000,"processes_every_ns":2000000000,"condition_every_ns":3000000000}`
	r.await("the third order", r.says(all))

	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await("a second program", func() bool { s := r.State(); return s.Kind == gpu.SourceReads && s.PID != first && s.Starts == 2 })
	r.await("all orders again", func() bool {
		lines := r.lines()
		at := len(lines) - 1 - slices.Index(reversed(lines), "hello") // of the second
		return at > 0 && slices.Contains(lines[at:], all)
	})
	if !strings.Contains(r.logged(), "killed by signal 9") {
		t.Errorf("the log doesn't say how it ended:\n%s", r.logged())
	}
}

func reversed(s []string) []string {
	s = slices.Clone(s)
	slices.Reverse(s)
	return s
}

func TestNowReturnsWhenAllLinesHaveBeenTaken(t *testing.T) {
	t.Parallel()
	r := run(t, "good", nil)
	if err := r.Now(t.Context()); err == nil || !strings.Contains(err.Error(), "the reader is ") {
		t.Errorf("before it reads: %v", err)
	}
	r.await("it reads", r.is(gpu.SourceReads))
	for i := range 3 {
		if err := r.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("done %d", i+1); !r.says(want)() || !r.says(fmt.Sprintf("sample %d", i+1))() {
			t.Fatalf("lines %q, want a sample and %s", r.lines(), want)
		}
	}
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if err := r.Now(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestNowIsAnErrorWhereNoAnswerComes(t *testing.T) {
	t.Parallel()
	r := run(t, "faint", once)
	r.await("it reads", r.is(gpu.SourceReads))
	err := r.Now(t.Context())
	const want = "look at the GPUs now: the reader is failed: exited 7: asked too much"
	if err == nil || err.Error() != want {
		t.Errorf("it ended: %v, want %s", err, want)
	}
	if err := r.Now(t.Context()); err == nil || err.Error() != want {
		t.Errorf("it has ended: %v, want %s", err, want)
	}

	r = run(t, "stubborn", nil)
	r.await("it reads", r.is(gpu.SourceReads))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Now(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it doesn't answer in time: %v", err)
	}
	if n := len(r.program.waiting); n != 0 {
		t.Errorf("%d questions are still kept", n)
	}
}

// A pipe has room for 64 KiB.
func TestAProgramThatReadsNothingBlocksNobody(t *testing.T) {
	t.Parallel()
	r := run(t, "stubborn", nil)
	r.await("it reads", r.is(gpu.SourceReads))
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("GPU-%060d", i)
	}
	for range 100 {
		r.Order(gpu.Order{Watch: many})
	}
	if kind := r.State().Kind; kind != gpu.SourceReads {
		t.Errorf("it is %s", kind)
	}
	pid, from := r.State().PID, time.Now()
	r.stop() // it has to be killed
	if took := time.Since(from); took < ending || took > 5*time.Second || !gone(pid) {
		t.Errorf("ended after %v, gone %v; want it killed after %v", took, gone(pid), ending)
	}
}

func TestAHangIsSilenceAndThenAKill(t *testing.T) {
	t.Parallel()
	r := run(t, "mute", func(o *Options) {
		once(o)
		o.Silence, o.Kill = 100*time.Millisecond, 500*time.Millisecond
	})
	r.await("it is silent", r.is(gpu.SourceSilent))
	state := r.State()
	if !strings.HasPrefix(state.Text, "no answer for ") || state.PID == 0 {
		t.Errorf("state %+v", state)
	}
	if err := r.Now(t.Context()); err == nil || !strings.Contains(err.Error(), "silent: no answer for") {
		t.Errorf("now: %v", err)
	}
	r.await("it is killed", r.is(gpu.SourceFailed))
	if text := r.State().Text; !strings.HasPrefix(text, "no answer for ") || !strings.HasSuffix(text, ": killed by signal 9") {
		t.Errorf("text %q", text)
	}
	if !gone(state.PID) {
		t.Errorf("program %d is still there", state.PID)
	}
	if n := strings.Count(r.logged(), "the GPU reader is silent"); n != 1 {
		t.Errorf("silence was logged %d times:\n%s", n, r.logged())
	}
}

func TestWhoSpeaksAgainIsSilentNoMore(t *testing.T) {
	t.Parallel()
	r := run(t, "hesitant", func(o *Options) { o.Silence = 200 * time.Millisecond })
	r.await("it is silent", r.is(gpu.SourceSilent))
	r.await("it reads", r.is(gpu.SourceReads))
	if s := r.State(); s.Starts != 1 || s.Text != "" {
		t.Errorf("state %+v", s)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	for as, want := range map[string]struct {
		kind gpu.SourceKind
		text string
	}{
		"of another version": {
			gpu.SourceRefused, "the reader speaks protocol 2, this sidecar 1: install the autoglm-sidecar-nvml of the same version",
		},
		"mortal":  {gpu.SourceFailed, "exited 127: symbol lookup error: nvmlInit"},
		"garbage": {gpu.SourceFailed, "read a line: invalid character 'u' looking for beginning of value: killed by signal "},
		"rude":    {gpu.SourceFailed, "its first line is no hello: killed by signal "},
		"huge":    {gpu.SourceFailed, "it said a line of more than 1048576 bytes: killed by signal "},
		"empty":   {gpu.SourceFailed, "it said a line with 2 fields, want 1: killed by signal "},
		"closing": {gpu.SourceFailed, "killed by signal 9"},
	} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			r := run(t, as, once)
			r.await("it is "+string(want.kind), r.is(want.kind))
			s := r.State()
			if !strings.HasPrefix(s.Text, want.text) {
				t.Errorf("text %q, want %q", s.Text, want.text)
			}
			if s.PID != 0 || s.Starts != 1 {
				t.Errorf("state %+v", s)
			}
			if n := strings.Count(r.logged(), "level=WARN"); n != 1 {
				t.Errorf("it is logged %d times:\n%s", n, r.logged())
			}
			if slices.Contains(r.lines(), "") || len(r.lines()) > 1 {
				t.Errorf("lines %q were taken", r.lines())
			}
		})
	}
}

func TestWhoEndsAtOnceIsStartedAgain(t *testing.T) {
	t.Parallel()
	r := run(t, "mortal", nil)
	r.await("5 starts", func() bool { return r.State().Starts >= 5 })
	if n := strings.Count(r.logged(), "exited 127"); n != 1 {
		t.Errorf("what doesn't change is logged %d times:\n%s", n, r.logged())
	}
}

func TestAnAbsentProgramIsLookedForAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nvml")
	r := run(t, "good", func(o *Options) { o.Program = path })
	r.await("it is absent", r.is(gpu.SourceAbsent))
	if s := r.State(); s.Text != "there is no "+path || s.Starts != 0 {
		t.Errorf("state %+v", s)
	}
	if err := os.WriteFile(path+".new", []byte("#!/bin/sh\nexec /proc/"+strconv.Itoa(os.Getpid())+"/exe\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	r.await("it reads", r.is(gpu.SourceReads))
	if n := strings.Count(r.logged(), "GPUs are not read"); n != 1 {
		t.Errorf("absence is logged %d times:\n%s", n, r.logged())
	}
}

func TestAProgramThatCantBeRunIsNotAbsent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		mode os.FileMode
		text string
	}{
		"not executable":   {0o644, "permission denied"},
		"of no known kind": {0o755, "exec format error"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("text"), c.mode); err != nil {
			t.Fatal(err)
		}
		r := run(t, "", func(o *Options) { once(o); o.Program = path })
		r.await("it failed", r.is(gpu.SourceFailed))
		if got, want := r.State().Text, "start "+path+": "+c.text; got != want {
			t.Errorf("text %q, want %q", got, want)
		}
	}
	path := filepath.Join(dir, "without its loader")
	if err := os.WriteFile(path, []byte("#!/no/such/loader\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := run(t, "", func(o *Options) { once(o); o.Program = path })
	r.await("it failed", r.is(gpu.SourceFailed))
}

func TestAnOrphanThatHoldsTheOutputHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	r := run(t, "parent", once)
	t.Cleanup(func() {
		for _, l := range r.lines() {
			var pid int
			if n, _ := fmt.Sscanf(l, "orphan %d", &pid); n == 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	r.await("its end", r.is(gpu.SourceFailed))
	if s := r.State(); s.Text != "exited 0" {
		t.Errorf("state %+v", s)
	}
	var sibling int
	for _, l := range r.lines() {
		_, _ = fmt.Sscanf(l, "sibling %d", &sibling)
	}
	if sibling == 0 || !gone(sibling) {
		t.Errorf("process %d of its group is still there", sibling)
	}
}

// More than a pipe has room for is there when it ends, and it is taken slowly.
func TestWhatItSaidBeforeItsEndIsTaken(t *testing.T) {
	t.Parallel()
	r := run(t, "chatty", func(o *Options) {
		once(o)
		take := o.Take
		o.Take = func(l gpu.Line) {
			time.Sleep(50 * time.Microsecond)
			take(l)
		}
	})
	r.await("its end", r.is(gpu.SourceFailed))
	lines := r.lines()
	if len(lines) != 1001 {
		t.Fatalf("%d lines, want 1001", len(lines))
	}
	for i, l := range lines[1:] {
		if want := fmt.Sprintf("line %d", i); l != want {
			t.Fatalf("line %d is %q, want %q", i, l, want)
		}
	}
}

// When the sidecar is killed its pipes stay open in the keeper, and this program doesn't look at its input anyway.
func TestTheProgramEndsWithAKilledSidecar(t *testing.T) {
	t.Parallel()
	sidecar := exec.CommandContext(t.Context(), "/proc/self/exe")
	sidecar.Env = []string{character + "=sidecar"}
	out, err := sidecar.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid == 0 || gone(pid) {
		t.Fatalf("its program is %q, %v", line, err)
	}
	_ = sidecar.Process.Kill()
	_ = sidecar.Wait()
	for end := time.Now().Add(10 * time.Second); !gone(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the program outlives a killed sidecar")
		}
	}
}

// unkillable is a program in the kernel's hands.
func unkillable() *program {
	return &program{
		lines: make(chan said), exited: make(chan struct{}), over: make(chan struct{}), reaped: true,
		orders: orders{wake: make(chan struct{}, 1)},
	}
}

func TestWhoCantBeKilledIsWaitedForUntilTheSidecarEnds(t *testing.T) {
	for what, closes := range map[string]bool{"it hangs": false, "it hangs at its end": true} {
		synctest.Test(t, func(t *testing.T) {
			r := New(Options{Take: func(gpu.Line) {}})
			a := &attendance{Reader: r, p: unkillable()}
			ctx, cancel := context.WithCancel(t.Context())
			left := make(chan bool, 1)
			go func() { left <- a.stay(ctx) }()
			a.p.lines <- said{line: gpu.Line{Hello: &gpu.Hello{Protocol: gpu.Protocol}}}
			if closes {
				close(a.p.lines)
			}

			time.Sleep(time.Hour + 5*time.Second)
			synctest.Wait()
			if s := r.State(); s.Kind != gpu.SourceSilent || s.Text != "no answer for 3600 s; it was killed, and doesn't end" {
				t.Errorf("%s: state %+v", what, s)
			}
			if len(left) > 0 {
				t.Fatalf("%s: it is not waited for", what)
			}
			from := time.Now()
			cancel()
			select {
			case ended := <-left:
				if took := time.Since(from); ended || took > 2*time.Second {
					t.Errorf("%s: left after %v, ended %v; want 2 s, and that it has not", what, took, ended)
				}
			case <-time.After(time.Minute):
				t.Errorf("%s: Run doesn't end", what)
				close(a.p.exited)
			}
		})
	}
}

func TestSilenceBeginsWithTheLatestLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Take: func(gpu.Line) {}})
		a := &attendance{Reader: r, p: unkillable()}
		go a.stay(t.Context())
		line := gpu.Line{Hello: &gpu.Hello{Protocol: gpu.Protocol}}
		for range 100 {
			a.p.lines <- said{line: line}
			line = gpu.Line{Alive: true}
			time.Sleep(9 * time.Second)
			synctest.Wait()
			if s := r.State(); s.Kind != gpu.SourceReads {
				t.Fatalf("state %+v after 9 s", s)
			}
		}
		for _, c := range []struct {
			wait time.Duration
			text string
		}{
			{2 * time.Second, "no answer for 10 s"},
			{40 * time.Second, "no answer for 50 s"},
			{20 * time.Second, "no answer for 70 s; it was killed, and doesn't end"},
		} {
			time.Sleep(c.wait)
			synctest.Wait()
			if s := r.State(); s.Kind != gpu.SourceSilent || s.Text != c.text {
				t.Errorf("state %+v, want %s", s, c.text)
			}
		}
		close(a.p.lines)
		close(a.p.exited)
	})
}

func TestPausesGrowAndAreForgotten(t *testing.T) {
	p := newPauses(time.Second, 5*time.Minute)
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if got < want*3/4 || got > want*5/4+1 {
			t.Errorf("%s: %v, want %v or a quarter more or less", what, got, want)
		}
	}
	for want := time.Second; want < 5*time.Minute; want *= 2 {
		near("it failed", p.after(gpu.SourceFailed, 4*time.Minute), want)
	}
	near("at the most", p.after(gpu.SourceFailed, 0), 5*time.Minute)
	near("at the most", p.after(gpu.SourceFailed, 0), 5*time.Minute)
	near("it read for long", p.after(gpu.SourceFailed, 5*time.Minute), time.Second)
	for _, kind := range []gpu.SourceKind{gpu.SourceAbsent, gpu.SourceRefused} {
		near(string(kind), p.after(kind, 0), 5*time.Minute)
	}
	near("it failed again", p.after(gpu.SourceFailed, 0), 2*time.Second)
}

func TestAnAnswerToNothingIsNone(t *testing.T) {
	t.Parallel()
	p := unkillable()
	answer := p.ask(3)
	for _, number := range []int64{3, 4, 1 << 62} {
		p.answered(number)
	}
	select {
	case <-answer:
		t.Fatal("a question that was not sent is answered")
	default:
	}
	if o, any := p.next(); !any || o.Now != 3 {
		t.Fatalf("order %+v, %v", o, any)
	}
	if o, any := p.next(); any {
		t.Fatalf("another order %+v", o)
	}
	p.answered(2)
	p.answered(4)
	p.answered(-1)
	select {
	case <-answer:
		t.Fatal("it is answered by another number")
	default:
	}
	p.answered(3)
	<-answer
}

// A pipe is full when the program ends, and somebody else fills it again and again.
func TestOfAnOrphansOutputNoMoreIsReadThanMayBeTheProgramsOwn(t *testing.T) {
	t.Parallel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	half := make([]byte, pipeSize/2)
	fill := func() {
		if _, err := out.Write(half); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	fill()
	_ = in.SetReadDeadline(time.Unix(1, 0))
	o, got := &output{File: in}, 0
	for range 10 {
		n, err := o.Read(make([]byte, len(half)))
		got += n
		if err != nil {
			break
		}
		fill()
	}
	if got != pipeSize {
		t.Errorf("%d bytes are read, want %d", got, pipeSize)
	}
}
