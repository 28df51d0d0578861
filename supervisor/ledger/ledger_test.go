package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"autoglm-sidecar/health"
	"autoglm-sidecar/supervisor"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// begun is when restart number id began, in these tests.
func begun(id int64) time.Time {
	return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).Add(time.Duration(id) * time.Minute)
}

func restart(id int64) supervisor.Restart {
	return supervisor.Restart{
		ID: id, Reason: health.Operator, By: "uid 0", From: supervisor.Life(id), To: supervisor.Life(id + 1), Starts: 1,
		Begun: begun(id), Took: 3 * time.Second, Open: 200, Result: supervisor.Done,
		Detail: "two\nlines, \"quotes\" and \x00",
		Tally:  supervisor.Tally{Held: 12, LongestHold: time.Second},
	}
}

// entry is that restart as it is kept, of a life of whose memory nothing was known.
func entry(id int64) Entry { return Entry{Restart: restart(id)} }

func opened(t *testing.T, dir string) *Ledger {
	t.Helper()
	return bounded(t, dir, maxBytes)
}

func bounded(t *testing.T, dir string, bound int64) *Ledger {
	t.Helper()
	l, err := open(dir, slog.New(slog.DiscardHandler), bound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func appendAll(t *testing.T, l *Ledger, ids ...int64) {
	t.Helper()
	for _, id := range ids {
		if err := l.Append(restart(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantHistory(t *testing.T, l *Ledger, n int, ids ...int64) {
	t.Helper()
	got, err := l.History(n)
	if err != nil {
		t.Fatal(err)
	}
	var want []Entry
	for _, id := range ids {
		want = append(want, entry(id))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestHistoryIsNewestFirstAndOutlivesUs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	l := opened(t, dir)
	wantHistory(t, l, 0)
	appendAll(t, l, 1, 2, 3)
	wantHistory(t, l, 2, 3, 2)
	l.Close()

	l = opened(t, dir)
	wantHistory(t, l, 0, 3, 2, 1)
	if id, err := l.LastID(); id != 3 || err != nil {
		t.Errorf("last ID %d, error %v, want 3", id, err)
	}
	appendAll(t, l, 4)
	wantHistory(t, l, 1, 4)
}

func TestWhoOnlyLooksChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := Read(dir, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where there is no ledger: %v, want %v", err, fs.ErrNotExist)
	}
	l := opened(t, dir)
	appendAll(t, l, 1, 2, 3)
	current := filepath.Join(dir, currentName)
	f, err := os.OpenFile(current, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "torn")
	f.Close()
	before, err := os.ReadFile(current)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir, 2) // while a sidecar has it locked
	if want := []Entry{entry(3), entry(2)}; err != nil || !cmp.Equal(want, got) {
		t.Errorf("it reads %+v, %v; want %+v", got, err, want)
	}
	if after, err := os.ReadFile(current); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it has changed the ledger from %q to %q, %v", before, after, err)
	}

	// A sidecar makes the current file the older one between the two looks.
	if err := os.Link(current, filepath.Join(dir, olderName)); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(dir, 0); err != nil || len(got) != 3 {
		t.Errorf("a file with two names is read as %d restarts, %v; want 3", len(got), err)
	}
}

func TestFilesAreNotForEverybody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	appendAll(t, opened(t, dir), 1)
	for path, most := range map[string]fs.FileMode{dir: 0o750, filepath.Join(dir, currentName): 0o640} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if more := info.Mode().Perm() &^ most; more != 0 {
			t.Errorf("%s has mode %v, want no more than %v", path, info.Mode().Perm(), most)
		}
	}
}

// A runner that died between Append and noting so leaves the next to append it again, by its own wall clock.
func TestTheSameRestartIsRecordedOnce(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	appendAll(t, l, 1, 2, 2)
	l.Close()
	l = opened(t, dir)
	again := restart(2)
	again.Begun = again.Begun.Add(3 * time.Millisecond)
	if err := l.Append(again); err != nil {
		t.Fatal(err)
	}
	wantHistory(t, l, 0, 2, 1)

	// A sidecar that lost its memory counts from 1 again. That is another restart.
	other := restart(2)
	other.Begun = other.Begun.Add(time.Hour)
	if err := l.Append(other); err != nil {
		t.Fatal(err)
	}
	if got, _ := l.History(0); len(got) != 3 {
		t.Errorf("%d restarts are recorded, want 3", len(got))
	}
}

// The machine went down while the last line was written: whatever part of it is on disk, only that line is lost.
func TestATornLineIsCutOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, currentName)
	appendAll(t, opened(t, dir), 1, 2, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for cut := second; cut < len(whole); cut++ {
		for _, zeros := range []int{0, 100} { // a file may have grown before its blocks were written
			torn := append(bytes.Clone(whole[:cut]), make([]byte, zeros)...)
			if err := os.WriteFile(path, torn, 0o640); err != nil {
				t.Fatal(err)
			}
			l := opened(t, dir)
			wantHistory(t, l, 0, 2, 1)
			appendAll(t, l, 4)
			wantHistory(t, l, 0, 4, 2, 1)
			l.Close()
		}
	}
}

func TestADamagedLineIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, currentName)
	appendAll(t, opened(t, dir), 1, 2, 3)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n')
	for at := first + 1; at < first+1+bytes.IndexByte(whole[first+1:], '\n'); at++ {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1
		if damaged[at] == '\n' || damaged[at] == whole[at] {
			continue
		}
		if err := os.WriteFile(path, damaged, 0o640); err != nil {
			t.Fatal(err)
		}
		l := opened(t, dir)
		wantHistory(t, l, 0, 3, 1)
		l.Close()
	}
}

func TestTheNewerHalfStays(t *testing.T) {
	const bound = 8 << 10
	dir := t.TempDir()
	l := bounded(t, dir, bound)
	line, err := encode(entry(100))
	if err != nil {
		t.Fatal(err)
	}
	for id := range int64(200) {
		appendAll(t, l, id+100)
		var size int64
		for _, name := range []string{currentName, olderName} {
			if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
				size += info.Size()
			}
		}
		if size > bound {
			t.Fatalf("after %d restarts the files have %d bytes, want at most %d", id+1, size, bound)
		}
		history, err := l.History(0)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(int(id)+1, bound/2/len(line)); len(history) < want {
			t.Fatalf("after %d restarts %d are kept, want at least %d", id+1, len(history), want)
		}
		for i, r := range history {
			if want := id + 100 - int64(i); r.ID != want {
				t.Fatalf("restart %d of the history is %d, want %d", i, r.ID, want)
			}
		}
	}
	l.Close()
	if last, _ := bounded(t, dir, bound).LastID(); last != 299 {
		t.Errorf("last ID after all: %d, want 299", last)
	}
}

// The machine went down between the two steps of a rotation: there is an older file, and no current one.
func TestARotationMayBeInterrupted(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	appendAll(t, l, 1, 2)
	l.Close()
	if err := os.Rename(filepath.Join(dir, currentName), filepath.Join(dir, olderName)); err != nil {
		t.Fatal(err)
	}
	l = opened(t, dir)
	appendAll(t, l, 2, 3)
	wantHistory(t, l, 0, 3, 2, 1)
}

func TestAPlaceThatCannotBeWrittenIsSaidAndTriedAgain(t *testing.T) {
	parent := t.TempDir()
	obstacle := filepath.Join(parent, "obstacle")
	if err := os.WriteFile(obstacle, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	l, err := Open(filepath.Join(obstacle, "state"), slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatalf("a ledger that can't be written now: %v", err)
	}
	defer l.Close()
	if !strings.Contains(logged.String(), "restarts can't be recorded for now") {
		t.Errorf("the log does not say so: %s", &logged)
	}
	if err := l.Append(restart(7)); !errors.Is(err, syscall.ENOTDIR) || !strings.HasPrefix(err.Error(), "record restart 7: ") {
		t.Errorf("append: got %v, want an error about restart 7 and the directory", err)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, 7)
	wantHistory(t, l, 0, 7)
}

// Somebody cleans up while the sidecar runs: no restart may go to files that have no name any more.
func TestWhatWasRemovedIsMadeAnew(t *testing.T) {
	for what, remove := range map[string]func(dir string) error{
		"the directory": os.RemoveAll,
		"the file":      func(dir string) error { return os.Remove(filepath.Join(dir, currentName)) },
		"the directory, by another's": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o750))
		},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		var logged bytes.Buffer
		l, err := Open(dir, slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil {
			t.Fatal(err)
		}
		appendAll(t, l, 1)
		if err := remove(dir); err != nil {
			t.Fatal(err)
		}
		appendAll(t, l, 2, 3)
		l.Close()
		if !strings.Contains(logged.String(), "the ledger was removed while it was open") {
			t.Errorf("%s was removed, and the log says %q", what, &logged)
		}
		l = opened(t, dir)
		wantHistory(t, l, 0, 3, 2)
	}
}

func TestOfTwoSidecarsOneRecords(t *testing.T) {
	dir := t.TempDir()
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), otherDirVariable+"="+dir, "GORACE=atexit_sleep_ms=0")
	hold, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	other.Stderr = os.Stderr
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatalf("the other sidecar has not recorded: %v", err)
	}

	var logged bytes.Buffer
	l, err := Open(dir, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatalf("a ledger that another sidecar has: %v", err)
	}
	defer l.Close()
	if !strings.Contains(logged.String(), "restarts can't be recorded for now") || !strings.Contains(logged.String(), ErrInUse.Error()) {
		t.Errorf("the log does not say so: %s", &logged)
	}
	if err := l.Append(restart(1000)); !errors.Is(err, ErrInUse) {
		t.Errorf("append: got %v, want that another sidecar records there", err)
	}
	hold.Close()
	if err := other.Wait(); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, 1000)
	wantHistory(t, l, 2, 1000, otherRestarts)
}

// otherDirVariable names the ledger that another process appends to, and keeps open until its stdin ends.
const (
	otherDirVariable = "LEDGER_TEST_OTHER"
	otherRestarts    = 40
)

func beOther(dir string) error {
	l, err := open(dir, slog.New(slog.DiscardHandler), 8<<10) // so small that its files rotate
	if err != nil {
		return err
	}
	for id := range int64(otherRestarts) {
		if err := l.Append(restart(id + 1)); err != nil {
			return err
		}
	}
	fmt.Print("!")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A runner shares its table of descriptors with the keeper: what it had open when it died stays open, and locked.
func TestTheNextRunnerRecordsOn(t *testing.T) {
	dir := t.TempDir()
	appendAll(t, opened(t, dir), 1) // open to the end of the test
	next := opened(t, dir)
	appendAll(t, next, 2)
	wantHistory(t, next, 0, 2, 1)
}

// fullDirVariable names the ledger that a process with a bound on its files appends to.
const fullDirVariable = "LEDGER_TEST_FULL"

func TestMain(m *testing.M) {
	act, dir := fillUp, os.Getenv(fullDirVariable)
	if dir == "" {
		act, dir = beOther, os.Getenv(otherDirVariable)
	}
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := act(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fillUp is a disk that gets full in the middle of the third restart, and has room again after that.
func fillUp(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	l, err := Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := errors.Join(l.Append(restart(1)), l.Append(restart(2))); err != nil {
		return err
	}
	full := unix.Rlimit{Cur: uint64(l.size) + 100, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(0, unix.RLIMIT_FSIZE, &full, nil); err != nil {
		return err
	}
	if err := l.Append(restart(3)); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("append without room: got %w, want EFBIG", err)
	}
	info, err := os.Stat(filepath.Join(dir, currentName))
	if err != nil || info.Size() != l.size {
		return fmt.Errorf("after that the file has %d bytes, want the %d of before (%w)", info.Size(), l.size, err)
	}
	var many []Stream
	for i := range 500 {
		many = append(many, of(3, fmt.Sprint(i), "cut", 0))
	}
	if err := l.AppendStreams(many); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("append streams without room: got %w, want EFBIG", err)
	}
	if all, err := l.StreamsOf(restart(3)); len(all) != 0 || err != nil {
		return fmt.Errorf("after that %d streams are there (%w)", len(all), err)
	}
	full.Cur = unix.RLIM_INFINITY
	if err := unix.Prlimit(0, unix.RLIMIT_FSIZE, &full, nil); err != nil {
		return err
	}
	return errors.Join(l.Append(restart(4)), l.AppendStreams([]Stream{of(4, "room again", "cut", 0)}))
}

func TestADiskThatIsFullInTheMiddleOfALine(t *testing.T) {
	dir := t.TempDir()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), fullDirVariable+"="+dir, "GORACE=atexit_sleep_ms=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l := opened(t, dir)
	wantHistory(t, l, 0, 4, 2, 1)
	wantStreams(t, l, 4, "room again")
}

func TestHistoryMayBeReadWhileRestartsAreAppended(t *testing.T) {
	l := bounded(t, t.TempDir(), 16<<10)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				history, err := l.History(5)
				if err != nil {
					t.Error(err)
					return
				}
				for i := 1; i < len(history); i++ {
					if history[i].ID != history[i-1].ID-1 {
						t.Errorf("history of %d after %d", history[i].ID, history[i-1].ID)
					}
				}
			}
		})
	}
	for id := range int64(100) {
		appendAll(t, l, id+1)
	}
	close(done)
	readers.Wait()
}

func TestOpenWantsAnAbsolutePath(t *testing.T) {
	for _, dir := range []string{"", "state"} {
		if _, err := Open(dir, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("Open(%q) gave no error", dir)
		}
	}
}
