package relay

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"autoglm-sidecar/sockets/arena"
)

// lost is a world whose worker dies in the middle of everything that may be given to its next life: a request that it
// had got all of, one of whose answer there is a bare head, one whose copy lies in blocks, one that it had got a part of, one that it had not got a byte of, and,
// on a connection that was kept, one behind an answer.
type lost struct {
	*world
	upload  string
	died    int // step
	revived int
}

func newLost(t testing.TB, seed uint64, overUnix bool) *lost {
	m := &lost{world: newWorld(t, seed, overUnix), upload: pattern(arena.InSize + 9000)}
	m.kernel.Most = 30_000
	m.options = func(o *Options) {
		o.Replay.Paths = append(o.Replay.Paths, "/upload")
		o.WorkerIdle, o.Lanes = 2*time.Second, 1 // one lane, so that it finds what it kept
	}
	m.answers = map[string]answer{
		chatPath: silence, barePath: {bytes: chatHead, keep: true}, "/upload": silence, "/charge": okAnswer("charged"), "/get": silence, "/first": onward("first"),
	}
	m.connect(post(chatPath, openAIRequest))
	m.connect(post("/upload", m.upload))
	m.connect(post("/charge", pattern(3000))[:2000])
	m.connect("GET /first HTTP/1.1\r\nHost: x\r\n\r\n", "GET /get HTTP/1.1\r\nHost: x\r\n\r\n")
	m.connect(post(barePath, openAIRequest))
	return m
}

// script lets the worker die when everything is where it should be, and come back.
func (m *lost) script() {
	switch {
	case m.died == 0 && (m.heard[chatPath] > 0 && m.heard["/upload"] > 0 && m.heard["/get"] > 0 && m.heard[barePath] > 0 || m.steps > 400):
		m.died = m.steps
		m.workerDies()
	case m.died > 0 && m.steps == m.died+2: // some notice by themselves
		m.connect("GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
		m.tellCrash()
	case m.died > 0 && m.revived == 0 && m.steps > m.died+30:
		m.revived = m.steps
		_, chunks := chat(2)
		m.answers = map[string]answer{
			chatPath: {bytes: chatHead + chunks + "0\r\n\r\n"}, barePath: {bytes: chatHead + chunks + "0\r\n\r\n"}, "/upload": okAnswer("thank"), "/charge": okAnswer("charged"),
			"/get": okAnswer("got"), "/late": okAnswer("late"), "/first": okAnswer("first"),
		}
		m.clients[2].send = []byte(post("/charge", pattern(3000)))
		m.revive()
	}
}

func (m *lost) whole() error {
	events, _ := chat(2)
	for i, want := range []string{events, "thank", "charged", "firstgot", events, "late"} {
		answers, err := m.clients[i].responses()
		if err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
		var got strings.Builder
		for _, a := range answers {
			got.WriteString(a.body)
		}
		if got.String() != want {
			return fmt.Errorf("client %d: got\n%q\nwant\n%q", i, got.String(), want)
		}
	}
	switch {
	case string(m.seen[chatPath]) != openAIRequest:
		return fmt.Errorf("the worker got the chat %q", m.seen[chatPath])
	case string(m.seen["/upload"]) != m.upload:
		return fmt.Errorf("the worker got another upload: %d bytes, first difference at %d", len(m.seen["/upload"]), diff(string(m.seen["/upload"]), m.upload))
	case string(m.seen["/charge"]) != pattern(3000):
		return fmt.Errorf("the worker got another charge: %d bytes", len(m.seen["/charge"]))
	case m.heard["/charge"] != 1:
		return fmt.Errorf("the worker got the charge %d times", m.heard["/charge"])
	case m.heard["/upload"] > maxLives, m.heard[chatPath] > maxLives, m.heard[barePath] > maxLives:
		return fmt.Errorf("the worker got a request too often: %v", m.heard)
	case m.arena.BlocksClaimed() > 0:
		return fmt.Errorf("%d blocks are left", m.arena.BlocksClaimed())
	}
	return nil
}

// playLost runs a lost world in which the runner is killed at the given points.
func playLost(t testing.TB, overUnix bool, lies bool, kills ...int) (points, deaths int, m *lost, err error) {
	m = newLost(t, 1, overUnix)
	if lies {
		m.lies = believing(m.world)
	}
	point := func() {
		points++
		if len(kills) > 0 && points == kills[0] {
			kills = kills[1:]
			deaths++
			panic(killed{})
		}
	}
	m.kernel.Hook, m.arena.Crash = func(string) { point() }, point
	m.survive(m.start)
	for range 1500 {
		m.script()
		if done, _ := m.step(); done && m.revived > 0 {
			m.moves(3)
			return points, deaths, m, m.whole()
		}
	}
	return points, deaths, m, errors.New("stuck")
}

func TestALostWorkerWithoutADeathOfOurs(t *testing.T) {
	for _, overUnix := range []bool{false, true} {
		_, _, m, err := playLost(t, overUnix, false)
		if err != nil {
			t.Fatalf("unix %v: %v", overUnix, err)
		}
		c := m.relay.counts()
		t.Logf("unix %v: retries %v, outcomes %v", overUnix, c.Retries, c.Outcomes)
		if c.Reused == 0 || c.Retries["kept_connection"] == 0 {
			t.Errorf("%d connections were used again, retries %v: the worker dies with none of them", c.Reused, c.Retries)
		}
		if c.Outcomes["cut"] > 0 || c.Outcomes["refused"] > 0 {
			t.Errorf("outcomes %v", c.Outcomes)
		}
	}
}

func TestKilledAtEveryPointOfASecondLife(t *testing.T) {
	for _, overUnix := range []bool{false, true} {
		points, _, _, err := playLost(t, overUnix, false)
		if err != nil {
			t.Fatal(err)
		}
		for at := 1; at <= points; at += 7 * everyPoint { // a prime, so that in time it comes to each kind of point
			_, deaths, m, err := playLost(t, overUnix, false, at, at+1+at%7)
			if err != nil {
				t.Fatalf("unix %v, killed at point %d of %d (%d deaths): %v\n%+v", overUnix, at, points, deaths, err, m.relay.counts())
			}
			if deaths == 0 {
				t.Fatalf("unix %v, point %d of %d: nobody died", overUnix, at, points)
			}
			if c := m.relay.counts(); c.TakeOver.Impossible > 0 || c.TakeOver.Poisoned > 0 || c.Outcomes["cut"] > 0 {
				t.Fatalf("unix %v, killed at point %d: %+v", overUnix, at, c)
			}
		}
		t.Logf("unix %v: %d points", overUnix, points)
	}
}

// TestWhoBelievesTheArenaCorruptsSecondLives is the proof that the test above can fail.
func TestWhoBelievesTheArenaCorruptsSecondLives(t *testing.T) {
	points, _, _, err := playLost(t, false, false)
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	for at := 1; at <= points; at += 41 {
		if _, _, _, err := playLost(t, false, true, at); err != nil {
			wrong++
		}
	}
	if wrong == 0 {
		t.Error("no stream was corrupted: the test of kills proves nothing")
	}
	t.Logf("%d of %d kills corrupted a stream", wrong, points/41)
}
