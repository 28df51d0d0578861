package relay

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/sockets/http1"
	"autoglm-sidecar/sockets/kernel"
)

// limited is a world with other limits.
func limited(t *testing.T, answers map[string]answer, change func(*Options)) *world {
	w := newWorld(t, 3, false)
	w.answers, w.options = answers, change
	w.start()
	return w
}

// drip lets a client send its next bytes and then be silent.
func (w *world) drip(c *client, text string) {
	c.send = append(c.send, text...)
	w.moves(10)
}

func TestAHeadHasASizeAndATime(t *testing.T) {
	for _, test := range []struct {
		name   string
		head   string // as it comes
		wait   time.Duration
		status int // 0: none yet
		change func(*Limits)
	}{
		{"as long as it may be", "GET /x HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 64-33) + "\r\n\r\n", 0, 200, func(m *Limits) { m.HeadSize = 64 }},
		{"a byte longer", "GET /x HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 65-33) + "\r\n\r\n", 0, 431, func(m *Limits) { m.HeadSize = 64 }},
		{"without an end", "GET /x HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 64), 0, 431, func(m *Limits) { m.HeadSize = 64 }},
		{"slow, but in time", "GET /x HTTP/1.1\r\n", 4 * time.Second, 0, func(m *Limits) { m.HeadTime = 5 * time.Second }},
		{"too slow", "GET /x HTTP/1.1\r\n", 6 * time.Second, 408, func(m *Limits) { m.HeadTime = 5 * time.Second }},
		{"slow, and no bound", "GET /x HTTP/1.1\r\n", time.Hour, 0, func(m *Limits) { m.HeadTime = 0 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := limited(t, map[string]answer{"/x": {bytes: small}}, func(o *Options) { test.change(&o.Limits) })
			c := w.connect("")
			w.drip(c, test.head)
			w.passTime(test.wait)
			w.moves(50)
			if test.status == 0 {
				if len(c.got) > 0 || c.ended {
					t.Errorf("got %q", c.got)
				}
				return
			}
			if r := w.only(c); r.status != test.status {
				t.Errorf("got %d %q, want %d", r.status, r.body, test.status)
			}
		})
	}
}

const slowBody = "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"

func TestABodyHasToComeWithARate(t *testing.T) {
	rate := func(o *Options) { o.Limits.BodyRate, o.Limits.BodyGrace = 100, 10*time.Second }
	for _, test := range []struct {
		name   string
		pieces int
		of     int // bytes, one piece a second
		change func(*Options)
		slow   bool
	}{
		{"at the rate, for a long time", 60, 100, rate, false},
		{"a little slower, within the grace", 30, 80, rate, false},
		{"a little slower, for long", 60, 80, rate, true},
		{"nothing", 15, 0, rate, true},
		{"nothing, and no rate is asked for", 60, 0, func(o *Options) { o.Limits.BodyRate = 0 }, false},
		{"at the rate, without a grace", 20, 110, func(o *Options) { o.Limits.BodyRate, o.Limits.BodyGrace = 100, 0 }, false},
		{"nothing, without a grace", 7, 0, func(o *Options) { o.Limits.BodyRate, o.Limits.BodyGrace = 100, 0 }, true},
		{"slow after a quick start: what went before doesn't count", 40, 50, rate, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := limited(t, map[string]answer{"/up": {}}, test.change)
			c := w.connect("")
			w.drip(c, slowBody+pattern(20_000))
			w.moves(100)
			for range test.pieces {
				w.drip(c, pattern(test.of))
				w.passTime(time.Second)
			}
			w.moves(50)
			if !test.slow {
				if len(c.got) > 0 || c.ended {
					t.Fatalf("got %q", c.got)
				}
				return
			}
			if r := w.only(c); r.status != 408 || !r.close {
				t.Errorf("got %d %q, want 408", r.status, r.body)
			}
			if !w.workers[0].closed {
				t.Error("the worker still waits for the rest")
			}
			w.outcomes("refused 1")
		})
	}
}

// TestABodyThatNobodyReadsIsNotSlow: the worker takes nothing, so we read nothing.
func TestABodyThatNobodyReadsIsNotSlow(t *testing.T) {
	w := limited(t, map[string]answer{"/up": {bytes: small}}, func(o *Options) {
		o.Limits.BodyRate, o.Limits.BodyGrace, o.Hold = 100_000, 10*time.Second, time.Hour
	})
	held := w.connect("")
	w.relay.Gate().Hold(1)
	w.drip(held, "POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"+pattern(1000))
	w.passTime(time.Minute) // it waits at the gate
	if len(held.got) > 0 {
		t.Fatalf("a held stream got %q", held.got)
	}
	w.relay.Open(1, kernel.Address{Unix: "worker"})
	w.moves(3)
	w.workers[0].deaf = true
	w.drip(held, pattern(199_000))
	w.moves(200)
	w.passTime(time.Minute) // the worker reads nothing
	if len(held.got) > 0 {
		t.Fatalf("a stream whose worker reads nothing got %q", held.got)
	}
	w.workers[0].deaf = false
	w.finish()
	if r := w.only(held); r.body != "ok" {
		t.Errorf("got %+v", r)
	}
}

func TestAClientThatTakesNothingIsStalled(t *testing.T) {
	for _, test := range []struct {
		name    string
		takes   int // bytes every ten seconds
		patient time.Duration
		stalled bool
	}{
		{"nothing", 0, time.Minute, true},
		{"a byte now and then", 1, time.Minute, false},
		{"nothing, and no bound", 0, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := limited(t, map[string]answer{"/big": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + pattern(600_000)}},
				func(o *Options) { o.Limits.Stalled = test.patient })
			c := w.connect("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
			c.asleep = true
			w.moves(300)
			for range 15 {
				w.passTime(10 * time.Second)
				c.end.Read(test.takes)
			}
			if !test.stalled {
				if w.workers[0].closed {
					t.Error("the stream was ended")
				}
				w.outcomes("")
				return
			}
			if !w.workers[0].closed || w.relay.Gate().Stats().InFlight != 0 {
				t.Error("the stream is still in flight")
			}
			w.outcomes("client_stalled 1")
			c.asleep = false
			w.moves(3000)
			loud(t, c)
		})
	}
}

func TestAStalledClientDoesNotHoldADrainForEver(t *testing.T) {
	w := limited(t, map[string]answer{"/big": {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + pattern(600_000)}}, nil)
	c := w.connect("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	c.asleep = true
	w.moves(300)
	if n := w.relay.Gate().Hold(1); n != 1 {
		t.Fatalf("%d in flight, want 1", n)
	}
	w.passTime(80 * time.Second)
	if len(w.drained) != 1 {
		t.Errorf("drained %v", w.drained)
	}
}

func TestAnIdleConnectionEnds(t *testing.T) {
	w := limited(t, map[string]answer{"/x": {bytes: small}}, func(o *Options) { o.Limits.Idle = 20 * time.Second })
	c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	c.answered = 0 // it stays
	fresh := w.connect("")
	fresh.answered = 0
	w.moves(50)
	w.passTime(19 * time.Second)
	if c.ended || fresh.ended {
		t.Fatal("ended too early")
	}
	w.drip(c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.passTime(19 * time.Second)
	if c.ended || !fresh.ended {
		t.Fatalf("the one that was used has ended: %v; the one that was never used: %v", c.ended, fresh.ended)
	}
	w.passTime(3 * time.Second)
	if !c.ended || c.broken {
		t.Errorf("ended %v, broken %v", c.ended, c.broken)
	}
}

func TestAnAddressHasSoManyConnectionsAndNoMore(t *testing.T) {
	trusted := netip.MustParsePrefix("10.0.0.0/8")
	w := limited(t, map[string]answer{"/x": {bytes: small}}, func(o *Options) {
		o.Limits.PerAddress = 2
		o.Fronts[0].Trusted = []netip.Prefix{trusted}
	})
	stay := func(from string) *client {
		c := w.connectFrom(netip.MustParseAddr(from), "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
		c.leaveAt = 1 << 20 // it stays
		w.moves(50)
		return c
	}
	first, second := stay("192.0.2.1"), stay("192.0.2.1")
	third, other := stay("192.0.2.1"), stay("192.0.2.2")
	if r := w.only(third); r.status != 429 || r.header.Get("Retry-After") == "" || !third.ended || third.broken {
		t.Errorf("the third got %d %v", r.status, r.header)
	}
	for i, c := range []*client{first, second, other} {
		if r := w.only(c); r.status != 200 || c.ended {
			t.Errorf("client %d: got %d, ended %v", i, r.status, c.ended)
		}
	}
	w.start() // another runner counts them again
	w.moves(10)
	if again := stay("192.0.2.1"); w.only(again).status != 429 {
		t.Error("a death of ours has made room")
	}
	first.end.Close()
	first.left = true
	w.moves(5)
	if again := stay("192.0.2.1"); w.only(again).status != 200 {
		t.Error("there was room")
	}
	for range 2 {
		w.clients[len(w.clients)-1].end.Close()
		w.clients[len(w.clients)-1].left = true
		w.moves(5)
		stay("10.1.1.1")
	}
	if n := w.arena.Counters(0).TurnedAway.Load() + w.arena.Counters(1).TurnedAway.Load(); n != 2 {
		t.Errorf("%d were counted, want 2", n)
	}
}

func TestSomebodyTurnedAwayCostsNobodysConnection(t *testing.T) {
	w := limited(t, map[string]answer{"/x": {bytes: small}}, func(o *Options) { o.Limits.PerAddress, o.Lanes = 6, 1 })
	var all []*client
	for range 6 { // all slots
		c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
		c.leaveAt = 1 << 20
		w.moves(20)
		all = append(all, c)
	}
	w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.moves(50)
	for i, c := range all {
		if c.ended {
			t.Errorf("connection %d was closed for one that was turned away", i)
		}
	}
	late := w.connectFrom(netip.MustParseAddr("192.0.2.2"), "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	w.moves(50)
	if r := w.only(late); r.status != 200 {
		t.Errorf("got %d: an idle connection is closed for one that may come in", r.status)
	}
}

func TestAnswersEndTheirConnectionsWhileSiblingsServe(t *testing.T) {
	for _, siblings := range []bool{false, true} {
		w := limited(t, map[string]answer{"/x": {keep: true}}, func(o *Options) { o.Siblings = siblings })
		c := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
		w.moves(20)
		w.relay.Gate().Hold(1)
		w.workers[0].answer = []byte(small)
		w.moves(50)
		if r := w.only(c); r.body != "ok" || r.close != siblings {
			t.Errorf("siblings %v: the connection ends: %v", siblings, r.close)
		}
		w.relay.Open(1, kernel.Address{Unix: "worker"})
		open := w.connect("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
		w.moves(20)
		w.workers[1].answer = []byte(small)
		w.moves(50)
		if r := w.only(open); r.close {
			t.Errorf("siblings %v: an open gate ends connections", siblings)
		}
	}
}

func TestTheWorkerLearnsItsClientsAddress(t *testing.T) {
	w := limited(t, map[string]answer{"/x": {bytes: small}}, func(o *Options) {
		o.Fronts[0].Forwarded = http1.ForwardedForX
		o.Fronts[0].Trusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	stranger := w.connectFrom(netip.MustParseAddr("198.51.100.7"), "GET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n")
	w.moves(50)
	proxy := w.connectFrom(netip.MustParseAddr("192.0.2.9"), "GET /x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n")
	w.finish()
	for i, want := range []string{"\r\nX-Forwarded-For: 198.51.100.7\r\n", "\r\nX-Forwarded-For: 203.0.113.5, 192.0.2.9\r\n"} {
		if got := string(w.workers[i].got); !strings.Contains(got, want) || strings.Count(got, "X-Forwarded-For") != 1 {
			t.Errorf("the worker got %q, want %q", got, want)
		}
	}
	w.only(stranger)
	w.only(proxy)
}
