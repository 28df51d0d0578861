package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"autoglm-sidecar/sockets/kernel"
	"autoglm-sidecar/sockets/kernel/fake"
)

const chatHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

func token(text string) string {
	return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}` + "\n\n"
}

func finished(reason string) string {
	return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}]}` + "\n\n"
}

const done = "data: [DONE]\n\n"

// chat is a stream of events, and the same in chunks that don't care for where events end.
func chat(tokens int) (events, chunks string) {
	var b strings.Builder
	for i := range tokens {
		b.WriteString(token(fmt.Sprintf("token-%d", i)))
	}
	b.WriteString(finished("stop") + done)
	events = b.String()
	for rest, n := events, 97; rest != ""; n = n*7%401 + 1 {
		n = min(n, len(rest))
		chunks += chunk(rest[:n])
		rest = rest[n:]
	}
	return events, chunks
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

func pattern(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + (i*i/7+i)%26)
	}
	return string(b)
}

// ways is what connections are made of.
type ways struct{ unixWorker, unixFront bool }

func (w ways) String() string {
	name := map[bool]string{false: "tcp", true: "unix"}
	return name[w.unixFront] + " front, " + name[w.unixWorker] + " worker"
}

// allWays are what a client and a worker can be connected by.
var allWays = []ways{{false, false}, {true, false}, {false, true}, {true, true}}

// busy is a world in which each kind of stream is under way at once, and what each client must get.
func busy(t testing.TB, seed uint64, overUnix bool) (*world, []string) {
	return busyBy(t, seed, ways{unixWorker: overUnix})
}

func busyBy(t testing.TB, seed uint64, by ways) (*world, []string) {
	w := newWorld(t, seed, by.unixWorker)
	if by.unixFront {
		w.front = fake.UnixFront
	}
	w.kernel.Most = 900
	events, chunks := chat(6)
	upload := pattern(9000)
	w.answers = map[string]answer{
		"/v1/chat/completions": {bytes: chatHead + chunks + "0\r\n\r\n"},
		"/upload":              {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthank", keep: true},
		"/plain":               {bytes: "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + pattern(3000)},
		"/close":               {bytes: "HTTP/1.0 200 OK\r\n\r\n" + pattern(1500)},
	}
	w.connect(post("/v1/chat/completions", `{"stream":true}`))
	w.connect("POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(upload[:4000]) + chunk(upload[4000:]) + "0\r\n\r\n")
	w.connect("GET /plain HTTP/1.1\r\nHost: x\r\n\r\n", "GET /close HTTP/1.1\r\nHost: x\r\n\r\n")
	w.connect("GET / HTTP/1.1\nHost: x\r\n\r\n")
	return w, []string{events, "thank", pattern(3000) + pattern(1500), ""}
}

// whole says what is wrong with what the clients of a busy world got.
func whole(w *world, want []string) error {
	for i, c := range w.clients {
		if err := c.whole(i, want[i]); err != nil {
			return err
		}
	}
	return w.uploaded()
}

// whole says what is wrong with what client i of a busy world got.
func (c *client) whole(i int, want string) error {
	answers, err := c.responses()
	if err != nil {
		return fmt.Errorf("client %d: %w", i, err)
	}
	if i == 3 {
		if answers[0].status != 400 {
			return fmt.Errorf("client 3: a malformed head got %d", answers[0].status)
		}
		return nil
	}
	var got strings.Builder
	for _, a := range answers {
		got.WriteString(a.body)
	}
	if got.String() != want {
		return fmt.Errorf("client %d: got\n%q\nwant\n%q", i, got.String(), want)
	}
	return nil
}

// uploaded says what is wrong with what the worker of a busy world got.
func (w *world) uploaded() error {
	if string(w.seen["/upload"]) != pattern(9000) {
		return fmt.Errorf("the worker got another upload: %d bytes", len(w.seen["/upload"]))
	}
	return nil
}

// play runs a busy world in which the runner is killed at each of the given counts of kernel calls and arena stores.
func play(t testing.TB, seed uint64, by ways, kills ...int) (points, deaths int, w *world, err error) {
	w, want := busyBy(t, seed, by)
	points, deaths, err = playIn(w, want, kills...)
	return points, deaths, w, err
}

func playIn(w *world, want []string, kills ...int) (points, deaths int, err error) {
	point := func() {
		points++
		if len(kills) > 0 && points == kills[0] {
			kills = kills[1:]
			panic(killed{})
		}
	}
	w.kernel.Hook = func(string) { point() }
	w.arena.Crash = point
	deaths = w.survive(w.start)
	died, err := w.run()
	if err == nil {
		err = whole(w, want)
	}
	return points, deaths + died, err
}

func TestBusyWorldWithoutADeath(t *testing.T) {
	for _, by := range allWays {
		for seed := range uint64(20) {
			if _, _, _, err := play(t, seed, by); err != nil {
				t.Fatalf("seed %d, %v: %v", seed, by, err)
			}
		}
	}
}

func TestKilledAtEveryPoint(t *testing.T) {
	for _, by := range allWays {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			every := everyPoint
			if by.unixFront && by.unixWorker { // each half of it is walked point by point above
				every = 2*everyPoint + 1
			}
			killedAt(t, by, every)
		})
	}
}

func killedAt(t *testing.T, by ways, every int) {
	points, _, _, err := play(t, 1, by)
	if err != nil {
		t.Fatal(err)
	}
	var found Counts
	for at := 1; at <= points; at += every {
		_, deaths, w, err := play(t, 1, by, at, at+1+at%7) // every second death is within the take-over
		if err != nil {
			t.Fatalf("killed at point %d of %d (%d deaths): %v\n%+v", at, points, deaths, err, w.relay.counts())
		}
		if deaths == 0 {
			t.Fatalf("point %d of %d: nobody died", at, points)
		}
		c := w.relay.counts().TakeOver
		if c.Impossible > 0 || c.Poisoned > 0 {
			t.Fatalf("killed at point %d: %+v", at, c)
		}
		found.TakeOver.Untaken += c.Untaken
		found.TakeOver.Ungiven += c.Ungiven
		found.TakeOver.Adopted += c.Adopted
		found.TakeOver.Unjudged += c.Unjudged
		found.TakeOver.Unsent += c.Unsent
		found.TakeOver.Orphans += c.Orphans
	}
	t.Logf("%d points; windows hit: %+v", points, found.TakeOver)
	if f := found.TakeOver; f.Untaken == 0 || f.Ungiven == 0 || f.Adopted == 0 || f.Unjudged == 0 || f.Unsent == 0 || f.Orphans == 0 {
		t.Errorf("a window was never hit: %+v", f)
	}
}

// believer is a kernel that tells a take-over what the dead runner had noted, and not what happened.
type believer struct {
	*fake.Kernel
	given  func(fd int32) int64 // as noted
	inPipe func(fd int32) int64
}

func (b believer) Taken(fd int32, noted int64) (int64, error) {
	if _, err := b.Kernel.Taken(fd, noted); err != nil {
		return 0, err
	}
	return noted, nil
}

func (b believer) Given(fd int32, connected bool) (int64, error) {
	if _, err := b.Kernel.Given(fd, connected); err != nil {
		return 0, err
	}
	return b.given(fd), nil
}

func (b believer) InPipe(c kernel.Conn) (int64, error) {
	if _, err := b.Kernel.InPipe(c); err != nil {
		return 0, err
	}
	return b.inPipe(c.Socket), nil
}

// believing makes the liar for a world. What was noted is found in the arena.
func believing(w *world) func(kernel.Kernel) kernel.Kernel {
	noted := func(fd int32) (given, piped int64) {
		a := w.arena
		for i := range a.Slots() {
			if !a.Used(i) {
				continue
			}
			n := a.Slot(i).Noted
			switch r := a.Committed(i); fd {
			case r.Client:
				return n.DownGiven, n.DownPiped
			case r.Worker:
				return n.UpGiven, n.UpPiped
			}
		}
		return 0, 0
	}
	return func(k kernel.Kernel) kernel.Kernel {
		return believer{
			k.(*fake.Kernel),
			func(fd int32) int64 { given, _ := noted(fd); return given },
			func(fd int32) int64 { given, piped := noted(fd); return piped - given },
		}
	}
}

// TestWhoBelievesTheArenaCorruptsStreams is the proof that the test above can fail: a runner that believes its
// predecessor's notes and not the kernel loses and doubles bytes, at the same points every time.
func TestWhoBelievesTheArenaCorruptsStreams(t *testing.T) {
	for _, by := range []ways{{false, false}, {true, true}} {
		t.Run(by.String(), func(t *testing.T) { believersCorrupt(t, by) })
	}
}

// corrupted says whether a runner that believes its predecessor, killed at the given point, corrupts a stream.
func corrupted(t *testing.T, by ways, point int) (wrong bool) {
	w, want := busyBy(t, 1, by)
	w.lies = believing(w)
	w.patience = 2_000 // streams that hang are wrong too
	defer func() {
		if said := recover(); said != nil { // the fake kernel won't do what a runner that knows its pipes doesn't ask for
			t.Logf("killed at point %d: %v", point, said)
			wrong = true
		}
	}()
	_, _, err := playIn(w, want, point)
	return err != nil
}

func believersCorrupt(t *testing.T, by ways) {
	points, _, _, err := play(t, 1, by)
	if err != nil {
		t.Fatal(err)
	}
	wrong := func() (at []int) {
		for point := 1; point <= points; point += points / 90 {
			if corrupted(t, by, point) {
				at = append(at, point)
			}
		}
		return at
	}
	first, second := wrong(), wrong()
	if len(first) == 0 {
		t.Fatal("no stream was corrupted: the test of kills proves nothing")
	}
	if !slices.Equal(first, second) {
		t.Errorf("corrupted at other points the second time:\n%v\n%v", first, second)
	}
	t.Logf("%d of %d kills corrupted a stream", len(first), points/(points/90))
}
