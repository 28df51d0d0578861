package child

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// blockedWriter takes nothing until it is released.
type blockedWriter struct {
	released chan struct{}
	lockedBuffer
}

func (w *blockedWriter) Write(p []byte) (int, error) {
	<-w.released
	return w.lockedBuffer.Write(p)
}

// Nobody takes what we write, and the worker prints 64 MiB all the same; what has no room is dropped and counted.
func TestAFloodNeverBlocksTheWorker(t *testing.T) {
	slow := &blockedWriter{released: make(chan struct{})}
	r := newRig(t, func(o *Options) {
		o.Output = slow
		o.Command = worker("flood:64", "say:the end", "exit:0")
	})
	exit := exitOf(t, r.begin(1))
	if !exit.Known || exit.Code != 0 || exit.LastLines[len(exit.LastLines)-1] != "the end" {
		t.Errorf("the worker %v, its last lines %q", exit, exit.LastLines)
	}
	stats := r.Stats()
	if stats.OutputBytes < 64<<20 || stats.DroppedLines == 0 {
		t.Errorf("stats %+v, want at least 64 MiB read and lines dropped", stats)
	}
	s := r.output.sink
	s.mu.Lock()
	if waiting := cap(s.waiting); waiting > 2*mostWaiting {
		t.Errorf("%d bytes of memory hold what waits, want at most %d", waiting, 2*mostWaiting)
	}
	s.mu.Unlock()

	close(slow.released)
	want := "lines of the worker's output dropped here"
	eventually(t, want, func() bool { return strings.Contains(slow.String(), want) })
	if got := len(slow.String()); got > 4*mostWaiting {
		t.Errorf("%d bytes were written at last, want no more than what could wait", got)
	}
}

// /dev/zero stands for workers that print faster than we read.
func TestCloseEndsInTheMiddleOfAFlood(t *testing.T) {
	o, err := openOutput(0, 0, NewHeapTail(heapTail), failingWriter{})
	if err != nil {
		t.Fatal(err)
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = o.empty(int(zero.Fd()), -1)
	}()
	eventually(t, "the flood", func() bool { return o.bytes.Load() > pipeSize })
	o.close()
	select {
	case <-ended:
	case <-soon(t).Done():
		t.Fatal("reading goes on though the output was closed")
	}
}

func TestAWriterThatFailsCostsOnlyItsLines(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Output = failingWriter{}
		o.Command = worker("flood:1", "say:well", "exit:0")
	})
	if exit := exitOf(t, r.begin(1)); exit.Code != 0 || exit.LastLines[len(exit.LastLines)-1] != "well" {
		t.Errorf("the worker %v, its last lines %q", exit, exit.LastLines)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestLinesReachTheOutputWhole(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Command = shell(`printf 'a\nb'; printf 'c\n'; printf '\nlast'; printf ' one\n' >&2`)
	})
	exitOf(t, r.begin(1))
	const want = "a\nbc\n\nlast one\n"
	eventually(t, fmt.Sprintf("the output %q", want), func() bool { return r.out.String() == want })
}

// A line without an end must not grow for ever: it is passed on in pieces.
func TestALineWithoutEnd(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Command = shell(`head -c 100000 /dev/zero | tr '\0' x`) })
	exitOf(t, r.begin(1))
	eventually(t, "pieces", func() bool { return strings.Count(r.out.String(), "x") >= 100_000-mostPartial })
	for line := range strings.Lines(r.out.String()) {
		if len(line) > mostPartial+1 {
			t.Fatalf("a piece of %d bytes, want at most %d", len(line), mostPartial+1)
		}
	}
	r.output.mu.Lock()
	defer r.output.mu.Unlock()
	if got := cap(r.output.partial); got > 2*mostPartial {
		t.Errorf("the unfinished line holds %d bytes of memory", got)
	}
}

func TestCloseDoesNotWaitForAWriterThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &blockedWriter{released: make(chan struct{})}
		s := newSink(stuck)
		s.put([]byte("line\n"))
		go s.run()
		begun := time.Now()
		s.close()
		if waited := time.Since(begun); waited != closePatience {
			t.Errorf("close waited for %v, want %v", waited, closePatience)
		}
		close(stuck.released)
	})
}

// What the life before printed, and nobody has read yet, is not the next one's.
func TestALifeBeginsBehindWhatWasPrintedBefore(t *testing.T) {
	o, err := openOutput(0, 0, NewHeapTail(heapTail), failingWriter{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	second := mark{name: "test", life: 2}
	must(unix.Write(o.write, []byte("of the first\n")))
	o.begin(second)
	must(unix.Write(o.write, []byte("of the second\n")))
	o.settle()
	if diff := cmp.Diff([]string{"of the second"}, o.linesOf(second, 5)); diff != "" {
		t.Errorf("last lines of life 2 (-want +got):\n%s", diff)
	}
}

func TestSinkWritesWhatWaitsBeforeItEnds(t *testing.T) {
	var out lockedBuffer
	s := newSink(&out)
	s.put([]byte("one\n"))
	s.put([]byte("two\n"))
	go s.run()
	s.close()
	if got := out.String(); got != "one\ntwo\n" {
		t.Errorf("written: %q", got)
	}
}

// A Tail over the same memory is the same Tail, whatever was appended in what pieces; it holds the last bytes.
func TestTailHoldsTheLastBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 7, 64} {
		ring, end := make([]byte, size), new(int64)
		var all []byte
		for range 300 {
			piece := strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(2*size+2))
			NewTail(ring, end).Append([]byte(piece))
			all = append(all, piece...)
			want := string(all[max(0, len(all)-size):])
			if got := NewTail(ring, end).Text(); got != want {
				t.Fatalf("size %d, after %d bytes: got %q, want %q", size, len(all), got, want)
			}
		}
	}
}

func TestLastLines(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		n          int
		want       []string
	}{
		{"none", "", 3, nil},
		{"fewer", "a\nb\n", 3, []string{"a", "b"}},
		{"more", "a\nb\nc\n", 2, []string{"b", "c"}},
		{"without its end", "a\nb", 2, []string{"a", "b"}},
		{"empty ones", "a\n\n \n\r\nb\n\n", 2, []string{"a", "b"}},
		{"a progress bar", "10%\r20%\r30%\nok\r\n", 2, []string{"30%", "ok"}},
		{"colours and rubbish", "\x1b[31mred\x1b[0m\xff\x00\n", 1, []string{"[31mred[0m?"}},
		{"too long", strings.Repeat("x", 2*longestLine), 1, []string{strings.Repeat("x", longestLine) + "..."}},
	} {
		if diff := cmp.Diff(tt.want, NewTailOf(tt.text).Lines(tt.n)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// NewTailOf is a Tail that was given this text.
func NewTailOf(text string) *Tail {
	tail := NewHeapTail(4 << 10)
	tail.Append([]byte(text))
	return tail
}

func BenchmarkOutputOfAWorker(b *testing.B) {
	o, err := openOutput(0, 0, NewHeapTail(heapTail), failingWriter{})
	if err != nil {
		b.Fatal(err)
	}
	defer o.close()
	line := []byte(strings.Repeat("x", 99) + "\n")
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		o.tail.Append(line)
		o.split(line)
	}
}
