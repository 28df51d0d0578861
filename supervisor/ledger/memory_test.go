package ledger

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"autoglm-sidecar/supervisor"

	"github.com/google/go-cmp/cmp"
)

// curve is the memory of a life on a GPU that filled up by 31 MiB a minute.
func curve(index, minutes int) Curve {
	c := Curve{GPU: fmt.Sprintf("GPU-%036d", index), Index: index}
	for i := range minutes {
		used := int64(58_000 + 31*i)
		c.Minutes = append(c.Minutes, Point{Minute: int64(i - minutes + 1), FloorMiB: used, HighestMiB: used + 900})
	}
	return c
}

// remembered is restart number id, of a life of whose memory something was known.
func remembered(id int64) Entry {
	e := entry(id)
	e.Memory = []Curve{curve(0, 60), curve(1, 3)}
	return e
}

// remember has the ledger told of the memory of lives.
func remember(l *Ledger, memory ...Curve) {
	l.Memory = func(supervisor.Life) []Curve { return memory }
}

func TestTheMemoryBeforeARestartIsKept(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	appendAll(t, l, 1)
	var asked []supervisor.Life
	l.Memory = func(from supervisor.Life) []Curve {
		asked = append(asked, from)
		return remembered(2).Memory
	}
	appendAll(t, l, 2)
	first := restart(3)
	first.From = 0 // of no life there is no memory
	if err := l.Append(first); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if d := cmp.Diff([]supervisor.Life{2}, asked); d != "" {
		t.Errorf("lives whose memory was asked for (-want +got):\n%s", d)
	}
	got, err := opened(t, dir).History(0)
	if d := cmp.Diff([]Entry{{Restart: first}, remembered(2), entry(1)}, got); d != "" || err != nil {
		t.Errorf("history, error %v (-want +got):\n%s", err, d)
	}
}

// A sidecar before this one knew nothing of GPUs.
func TestALineOfBeforeIsRead(t *testing.T) {
	const old = `{"sum":"2136eda2","restart":{"id":4,"revision":9,"reason":"operator","by":"uid 0","from":3,"to":4,"starts":1,"joined":0,` +
		`"begun":"2026-11-23T01:30:00Z","took_ns":41000000000,"spent_ns":{"draining":5000000000},"open":212,"result":"done","cut":0,"held":3,` +
		`"refused":0,"longest_hold_ns":40000000000,"longest_gap_ns":0}}`
	e, ok := decode([]byte(old))
	if !ok || e.ID != 4 || e.Held != 3 || e.Memory != nil {
		t.Errorf("it is read as %+v, %v", e, ok)
	}
	again, err := encode(e)
	if err != nil || string(again) != old+"\n" {
		t.Errorf("written again it is %s, %v; want it as it was", again, err)
	}
}

// Check wants room for one restart, whatever is to be kept with it.
func TestWhatIsKeptWithARestartIsBounded(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	var many []Curve
	for i := range 20 {
		c := curve(i, 200)
		for k := range c.Minutes {
			c.Minutes[k] = Point{Minute: math.MinInt32, FloorMiB: math.MaxInt32, HighestMiB: math.MaxInt32}
		}
		c.Minutes[199] = Point{}
		c.GPU = strings.Repeat("x", 1000)
		many = append(many, c)
	}
	remember(l, append([]Curve{{GPU: "of which nothing was seen"}}, many...)...)
	appendAll(t, l, 1)
	info, err := os.Stat(filepath.Join(dir, currentName))
	if err != nil || info.Size() > leastFree {
		t.Errorf("the line has %d bytes, error %v; want at most %d", info.Size(), err, leastFree)
	}
	got, err := l.History(0)
	if err != nil || len(got) != 1 || len(got[0].Memory) != mostGPUs {
		t.Fatalf("%+v, error %v", got, err)
	}
	for _, c := range got[0].Memory {
		if n := len(c.Minutes); n != mostMinutes || c.Minutes[n-1] != (Point{}) {
			t.Errorf("%d minutes are kept, the last %+v; want %d up to the last", n, c.Minutes[n-1], mostMinutes)
		}
	}
}

func TestATornLineWithMemoryIsCutOff(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	appendAll(t, l, 1)
	remember(l, remembered(2).Memory...)
	appendAll(t, l, 2)
	l.Close()
	path := filepath.Join(dir, currentName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-40], 0o640); err != nil {
		t.Fatal(err)
	}
	wantHistory(t, opened(t, dir), 0, 1)
}
