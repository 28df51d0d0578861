package child

import (
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"autoglm-sidecar/supervisor"
)

func TestANoteIsReadAsItWasWritten(t *testing.T) {
	path := noteIn(t)
	want := note{
		Life: 7, PID: 4711, Start: 99, Boot: bootID(), Upstream: supervisor.Upstream{Network: "unix", Address: "/run/w.sock"},
		Command: "digest", Output: 5, Ready: time.Minute,
	}
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	if got, err := readNote(path); got != want || err != nil {
		t.Errorf("got %+v and error %v, want %+v", got, err, want)
	}
}

func TestWhatIsNoNoteOfThisBootIsNone(t *testing.T) {
	for name, text := range map[string]string{
		"empty":        "",
		"torn":         `{"life":7,"pid":47`,
		"another boot": `{"life":7,"pid":4711,"start":99,"boot":"00000000-0000-0000-0000-000000000000"}`,
	} {
		path := noteIn(t)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readNote(path); got != (note{}) || err != nil {
			t.Errorf("%s: got %+v and error %v, want none", name, got, err)
		}
	}
	if got, err := readNote(noteIn(t)); got != (note{}) || err != nil {
		t.Errorf("no file: got %+v and error %v, want none", got, err)
	}
}

func TestOnlyTheNoteOfItsOwnLifeIsRemoved(t *testing.T) {
	path := noteIn(t)
	if err := (note{Life: 2}).write(path); err != nil {
		t.Fatal(err)
	}
	if err := removeNote(path, 1); err != nil {
		t.Fatal(err)
	}
	if n, _ := readNote(path); n.Life != 2 {
		t.Error("the note of life 2 went with life 1")
	}
	for range 2 {
		if err := removeNote(path, 2); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the note of a life that is over: %v, want it gone", err)
	}
}

// Where no note can be written, the worker runs all the same: it carries what matters in its environment.
func TestAWorkerRunsWithoutANote(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Note = "/proc/nowhere/test.life" })
	p := r.begin(1)
	if life, at := p.id.mark.read(p.PID()); life != 1 || at != p.Upstream() {
		t.Errorf("the worker carries life %d and upstream %v, want 1 and %v", life, at, p.Upstream())
	}
}
