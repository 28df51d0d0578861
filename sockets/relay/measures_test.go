package relay

import (
	"fmt"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/kernel/fake"
)

func TestWhatAStreamMovesIsMeasured(t *testing.T) {
	events, chunks := chat(6)
	w := begin(t, map[string]answer{"/v1/chat/completions": {bytes: chatHead + chunks + "0\r\n\r\n"}})
	c := w.connect(post("/v1/chat/completions", openAIRequest))
	w.finish()
	if r := w.only(c); r.body != events {
		t.Fatalf("got %q", r.body)
	}
	m := w.relay.Measures()
	if m.UpBytes != int64(len(c.send)) || m.DownBytes != int64(len(c.got)) {
		t.Errorf("%d bytes up and %d down, want %d and %d", m.UpBytes, m.DownBytes, len(c.send), len(c.got))
	}
	var gaps int64
	for _, n := range m.Gaps.Counts {
		gaps += n
	}
	if gaps < 5 || m.Gaps.Sum <= 0 || time.Duration(m.Gaps.Sum) > time.Minute {
		t.Errorf("gaps %+v", m.Gaps)
	}
	for name, d := range map[string]arena.Distribution{"first byte": m.Firsts, "connect": m.Connects} {
		var n int64
		for _, count := range d.Counts {
			n += count
		}
		if n != 1 {
			t.Errorf("%s was noted %d times", name, n)
		}
	}
}

// What measuring adds to the way of a token, and to a batch of events.
func BenchmarkMeasureAToken(b *testing.B) {
	l := &lane{count: arena.OnHeap(1).Counters(0)}
	for b.Loop() {
		l.gap(int64(20 * time.Millisecond))
	}
}

func BenchmarkMeasureABatch(b *testing.B) {
	l := &lane{count: arena.OnHeap(1).Counters(0), k: kernel.Linux{}}
	for b.Loop() {
		l.now = l.k.Now()
		l.took, l.gave = 100, 200
		l.settle()
	}
}

// What a scrape takes from the lanes: as long as Stats goes through a lane's connections, that lane waits.
func BenchmarkStats(b *testing.B) {
	for _, n := range []int{64, 4096} {
		b.Run(fmt.Sprint(n, "connections"), func(b *testing.B) {
			a, err := arena.Private(arena.Size{Slots: n})
			if err != nil {
				b.Fatal(err)
			}
			k := fake.New(1, false)
			r := assemble(Options{Arena: a, Kernel: k, Fronts: fakeFronts, Lanes: 2, Waiting: n}, []poller{k.NewPoller(), k.NewPoller()})
			for i := range n {
				k.Client()
				fd, e := k.Accept(fake.Front)
				if e != 0 {
					b.Fatal(e)
				}
				a.Fill(i, &arena.Record{Client: fd.Socket, Worker: -1, PipeR: -1, PipeW: -1, Phase: arena.Relay, Life: 1, Arrived: 1})
				r.lanes[i%2].attach(int32(i))
			}
			for b.Loop() {
				if s := r.Stats(); s.Streams != n {
					b.Fatal(s.Streams)
				}
				r.Measures()
			}
		})
	}
}
