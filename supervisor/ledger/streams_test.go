package ledger

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// of is a stream of restart number id (see restart) that ended a while after it.
func of(id int64, request, outcome string, waited time.Duration) Stream {
	return Stream{
		Restart: id, Life: id + 1, Request: request, Client: "192.0.2.1:1234", Route: "POST /v1/chat/completions", Ended: begun(id).Add(20 * time.Second),
		Age: waited + time.Second, Waited: waited, Bytes: 1000, Status: 200, Outcome: outcome,
	}
}

func wantStreams(t *testing.T, l *Ledger, id int64, requests string) {
	t.Helper()
	all, err := l.StreamsOf(restart(id))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, s.Request)
	}
	if strings.Join(got, " ") != requests {
		t.Errorf("streams of restart %d: %v, want %s", id, got, requests)
	}
}

func appendStreams(t *testing.T, l *Ledger, all ...Stream) {
	t.Helper()
	if err := l.AppendStreams(all); err != nil {
		t.Fatal(err)
	}
}

func TestWhatARestartDidToStreamsOutlivesUs(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	way := of(2, "way", "open", 0)
	way.InTheWay = true
	appendStreams(t, l, of(1, "short", "complete", time.Second), of(1, "cut", "cut", 0), of(2, "other", "complete", time.Second))
	appendStreams(t, l, of(1, "long", "refused", time.Minute), of(1, "cut", "cut", 0), way) // one told twice
	l.Close()

	l = opened(t, dir)
	wantStreams(t, l, 1, "cut long short")
	wantStreams(t, l, 2, "way other")
	wantStreams(t, l, 3, "")
	appendStreams(t, l, of(2, "way", "complete", 0))
	all, err := l.StreamsOf(restart(2))
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	want := of(2, "way", "complete", 0)
	want.InTheWay = true
	if d := cmp.Diff(want, all[0]); d != "" {
		t.Errorf("a stream that was in the way and then ended (-want +got):\n%s", d)
	}
}

// The relay meets a crash first: what it cuts then names no restart.
func TestAStreamCutBeforeItsCrashWasKnownBelongsToIt(t *testing.T) {
	l := opened(t, t.TempDir())
	r := restart(5)
	for _, test := range []struct {
		life  int64
		after time.Duration
		name  string
	}{
		{5, -30 * time.Millisecond, "just-before"},
		{5, time.Millisecond, "just-after"},
		{5, -time.Hour, "an-hour-before"},
		{4, 0, "another-life"},
		{5, time.Hour, "long-after"},
	} {
		s := of(0, test.name, "cut", 0)
		s.Life, s.Ended = test.life, r.Begun.Add(test.after)
		appendStreams(t, l, s)
	}
	wantStreams(t, l, 5, "just-after just-before")
}

func TestOfManyStreamsThoseThatMatterAreKept(t *testing.T) {
	l := opened(t, t.TempDir())
	order := rand.New(rand.NewPCG(1, 1)).Perm(5000)
	for batch := range 50 {
		var all []Stream
		for _, i := range order[batch*100 : batch*100+100] {
			all = append(all, of(1, fmt.Sprintf("held-%04d", i), "complete", time.Duration(i)*time.Millisecond))
		}
		for i := range 30 {
			all = append(all, of(1, fmt.Sprintf("cut-%04d", batch*30+i), "cut", 0))
		}
		appendStreams(t, l, all...)
	}
	all, err := l.StreamsOf(restart(1))
	if err != nil || len(all) != mostCut+mostWaited {
		t.Fatalf("%d streams, error %v", len(all), err)
	}
	for i, s := range all[mostCut:] {
		if want := fmt.Sprintf("held-%04d", 4999-i); s.Request != want {
			t.Fatalf("the wait number %d is %s, want %s", i, s.Request, want)
		}
	}
	info, err := os.Stat(l.path(streamsName))
	if err != nil || info.Size() > (mostCut+mostWritten)*400 {
		t.Errorf("%d bytes, error %v", info.Size(), err)
	}
}

func TestAfterATakeOverNoMoreIsKept(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		l := opened(t, dir)
		var all []Stream
		for k := range 400 {
			all = append(all, of(1, fmt.Sprintf("cut-%d-%d", i, k), "cut", 0))
		}
		appendStreams(t, l, all...)
		l.Close()
	}
	raw, err := os.ReadFile(filepath.Join(dir, streamsName))
	if err != nil || strings.Count(string(raw), "\n") != mostCut {
		t.Errorf("%d lines, error %v; want %d", strings.Count(string(raw), "\n"), err, mostCut)
	}
}

func TestTheFilesOfStreamsAreBounded(t *testing.T) {
	l := opened(t, t.TempDir())
	const each, most = 50, 256 << 10
	l.streamHalf = most / 2
	last := int64(0)
	for id := range int64(60) {
		var all []Stream
		for k := range each {
			all = append(all, of(id+1, fmt.Sprintf("cut-%d-%d", id, k), "cut", 0))
		}
		appendStreams(t, l, all...)
		last = id + 1
	}
	var size int64
	for _, name := range []string{streamsName, olderStreamsName} {
		info, err := os.Stat(l.path(name))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > most || size < most/2 {
		t.Errorf("%d bytes, want at most %d", size, most)
	}
	for _, id := range []int64{last, last - 5} {
		if all, err := l.StreamsOf(restart(id)); len(all) != each || err != nil {
			t.Errorf("restart %d: %d streams, error %v", id, len(all), err)
		}
	}
}

func TestATornLineOfAStreamIsCutOff(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, dir)
	appendStreams(t, l, of(1, "a", "cut", 0), of(1, "b", "cut", 0))
	path := filepath.Join(dir, streamsName)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := strings.IndexByte(string(raw), '\n') + 1; cut < len(raw); cut += 7 {
		if err := os.WriteFile(path, raw[:cut], 0o640); err != nil {
			t.Fatal(err)
		}
		wantStreams(t, l, 1, "a")
		appendStreams(t, l, of(1, "c", "cut", 0))
		all, err := l.StreamsOf(restart(1))
		if err != nil || len(all) != 2 {
			t.Fatalf("cut at %d: %v, %v", cut, all, err)
		}
		l.choices = nil
	}
}

func TestStreamsThatCannotBeKeptAreAnErrorAndLaterOnesAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	l := opened(t, dir)
	if err := l.AppendStreams([]Stream{of(1, "a", "cut", 0)}); err == nil {
		t.Error("no error")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	appendStreams(t, l, of(1, "b", "cut", 0))
	wantStreams(t, l, 1, "b")
}
