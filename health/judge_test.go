package health

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const veto = 60 * time.Second

// court is a judge with all kinds of what can be asked, of life 7 that began at 0. Its clock is in seconds.
type court struct {
	t *testing.T
	*Judge
	now time.Duration
}

func inCourt(t *testing.T) *court {
	j := NewJudge(
		veto,
		Asked{About: "tcp", Kind: Probe, Rise: 2, Fall: 3},
		Asked{About: "http:/health", Kind: Probe, Rise: 2, Fall: 3},
		Asked{About: "token", Kind: Token, Rise: 1, Fall: 3},
		Asked{About: "generate", Kind: Witness, Rise: 1, Fall: 3},
		Asked{About: "streams", Kind: Stall, Rise: 1, Fall: 1},
		Asked{About: "answers", Kind: Passive, Rise: 1, Fall: 1},
		Asked{About: "xid", Kind: Fault, Rise: 1, Fall: 1},
		Asked{About: "memory", Kind: Notice, Rise: 1, Fall: 1},
	)
	j.Begin(7, 0, "tcp", "http:/health", "token")
	return &court{t: t, Judge: j}
}

var codesOf = map[string]Code{
	"tcp": TCPFailed, "http:/health": HTTPFailed, "generate": GenerateFailed, "token": GenerateFailed, "streams": WorkerSilent, "answers": AnswersFail,
	"xid": GPUFaulty, "memory": MemoryFilling,
}

// hears plays a script, one word a second: tcp- is a failure, tcp+ an answer, tcp? a question that doesn't fit, down-
// that tcp was refused; byte is one of a stream's, wait that streams wait, 10s lets time pass.
func (c *court) hears(script string) {
	c.t.Helper()
	for word := range strings.FieldsSeq(script) {
		c.now += time.Second
		if d, err := time.ParseDuration(word); err == nil {
			c.now += d
			continue
		}
		if word == "byte" {
			c.Heard(7, c.now, true)
			continue
		}
		if word == "wait" {
			c.Heard(7, 0, true)
			continue
		}
		about, how := word[:len(word)-1], word[len(word)-1]
		if about == "http" {
			about = "http:/health"
		}
		s := Signal{Life: 7, About: about, Code: codesOf[about], Bad: how == '-', Unfit: how == '?', Text: "as seen"}
		if about == "xid" {
			s.Text = "Xid 31"
		}
		if about == "down" {
			s.About, s.Code = "tcp", WorkerDown
		}
		c.Hear(s, c.now)
	}
}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		name     string
		script   string
		level    Level
		warnings string
	}{
		{"nothing was heard", "", Well, ""},
		{"all is well", "2m tcp+ http+ streams+ answers+", Well, ""},
		{"two failures are no fall", "2m http- http-", Well, ""},
		{"three are", "2m http- http- http-", Sick, "http_failed"},
		{"not in a row", "2m http- http- http+ http- http-", Well, ""},
		{"one answer is no rise", "2m http- http- http- http+", Degraded, "http_failed"},
		{"two are", "2m http- http- http- http+ http+", Well, ""},
		{"it fell, and one of two answers came, and then none", "2m http- http- http- http+ http-", Sick, "http_failed"},

		{"a byte came 59 s ago", "2m http- http- byte 57s http-", Degraded, "http_failed busy_not_sick"},
		{"a byte came 60 s ago", "2m http- http- byte 58s http-", Sick, "http_failed"},
		{"the life is young", "http- http- http-", Degraded, "http_failed busy_not_sick"},

		{"nobody listens: what follows isn't shown", "2m down- down- down- http- http- http-", Sick, "worker_down"},
		{"nobody listens, and answers fail", "2m answers- 11s down- down- down-", Sick, "worker_down"},

		{"many answers fail: shown, after a while", "2m answers-", Degraded, ""},
		{"they still do", "2m answers- 11s answers-", Degraded, "answers_fail"},
		{"then one failed probe is enough", "2m answers- http-", Sick, "http_failed"},
		{"and an answered one is well", "2m answers- 11s http- http+", Degraded, "answers_fail"},

		{"the GPU had a fault, and nothing fails", "2m xid-", Degraded, "gpu_fault"},
		{"then one failed probe is enough, too", "2m xid- http-", Sick, "gpu_fault http_failed"},
		{"unless a stream got a byte", "2m byte xid- http-", Degraded, "gpu_fault http_failed busy_not_sick"},
		{"an old one explains nothing", "2m xid- xid+ http-", Well, ""},
		{"it hangs after a fault", "2m xid- streams- generate- generate- generate-", Stuck, "gpu_fault worker_hung"},
		{"no token while streams wait, after a fault", "2m wait xid- token-", Degraded, "gpu_fault"},

		{"memory will be full, and all probes are well", "2m tcp+ http+ memory-", Degraded, "memory_forecast"},
		{"a notice is none of a probe's business", "2m memory- http-", Degraded, "memory_forecast"},
		{"nor of the veto's", "2m memory- http- http- http-", Sick, "http_failed memory_forecast"},
		{"and it is over when it is", "2m memory- memory- memory+", Well, ""},

		{"no token without a stream", "2m token- token- token-", Sick, "generate_failed"},
		{"no token while streams wait: whether they hang is another question", "2m wait token- token- token-", Degraded, "generate_failed"},

		{"streams are silent: the witness is to be asked", "2m streams-", Degraded, "worker_silent"},
		{"the witness fails, too seldom", "2m streams- generate- generate-", Degraded, "worker_silent"},
		{"it fails often enough", "2m streams- generate- generate- generate-", Stuck, "worker_hung"},
		{"it answers in between", "2m streams- generate- generate- generate+ generate-", Degraded, "worker_silent"},
		{"what it said before the silence is of no account", "2m generate- generate- streams- generate-", Degraded, "worker_silent"},
		{"nor in a silence that ended", "2m streams- generate- generate- streams+ streams- generate-", Degraded, "worker_silent"},
		{"without silence it is not heard", "2m generate- generate- generate- generate-", Well, ""},
		{"it hangs, and health pages fail", "2m streams- generate- generate- generate- http- http- http-", Stuck, "worker_hung"},
		{"a stream got a byte after all", "2m streams- generate- generate- generate- byte", Degraded, "worker_silent busy_not_sick"},
		{"nobody can be asked for a token", "2m streams- generate? generate? generate? 61s generate?", Degraded, "worker_silent probe_unfit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := inCourt(t)
			c.hears(test.script)
			v := c.Verdict(c.now)
			var codes []string
			for _, w := range v.Warnings {
				codes = append(codes, string(w.Code))
			}
			if got := strings.Join(codes, " "); v.Level != test.level || got != test.warnings {
				t.Errorf("after %q: %v with %q, want %v with %q", test.script, v.Level, got, test.level, test.warnings)
			}
			if (v.Why != "") != (v.Level > Degraded) {
				t.Errorf("%v says why: %q", v.Level, v.Why)
			}
		})
	}
}

// A probe that has never been answered in this life asks for what this worker doesn't have: a new life would not either.
func TestAProbeThatNeverPassedStopsNobody(t *testing.T) {
	c := inCourt(t)
	c.Begin(7, 0)
	c.hears("2m http- http- http- http-")
	if v := c.Verdict(c.now); v.Level != Degraded {
		t.Errorf("never answered: %v, want %v", v.Level, Degraded)
	}
	c.hears("http+ http+ http- http- http-")
	if v := c.Verdict(c.now); v.Level != Sick || !c.Passed("http:/health") || c.Passed("tcp") {
		t.Errorf("once well, then not: %v, want %v", v.Level, Sick)
	}
}

func TestWhatIsSaidOfAnotherLifeIsDropped(t *testing.T) {
	c := inCourt(t)
	for range 9 {
		c.Hear(Signal{Life: 6, About: "tcp", Code: WorkerDown, Bad: true}, 2*veto)
		c.Hear(Signal{Life: 7, About: "nothing that was asked", Code: WorkerDown, Bad: true}, 2*veto)
	}
	c.Heard(6, 2*veto, false)
	if v := c.Verdict(2 * veto); v.Level != Well {
		t.Errorf("of life 6 was said that nobody listens, and life 7 is %v", v.Level)
	}
	c.hears("2m down- down- down-")
	if v := c.Verdict(c.now); v.Level != Sick {
		t.Fatalf("got %v", v.Level)
	}
	c.Begin(8, c.now, "tcp")
	if v := c.Verdict(c.now + 2*veto); v.Level != Well || v.Life != 8 {
		t.Errorf("life 8 begins %v", v)
	}
}

func TestReasonAndWhyAreForTheLedger(t *testing.T) {
	for _, test := range []struct {
		script string
		reason Reason
		why    string
	}{
		{"2m tcp+", NoReason, ""},
		{"2m xid-", NoReason, ""},
		{"2m http- http- http-", Unhealthy, "http:/health failed 3 times in a row: as seen"},
		{"2m streams- generate- generate- generate-", Hung, "as seen; generate failed 3 times in a row: as seen"},
		{"2m answers- http-", Unhealthy, "http:/health failed once: as seen; as seen"},
		{"2m xid- http-", GPUFault, "http:/health failed once: as seen; Xid 31"},
		{"2m answers- xid- http-", GPUFault, "http:/health failed once: as seen; as seen; Xid 31"},
		{"2m xid- streams- generate- generate- generate-", GPUFault, "as seen; generate failed 3 times in a row: as seen; Xid 31"},
		{"2m xid- http- byte", NoReason, ""},
	} {
		c := inCourt(t)
		c.hears(test.script)
		if v := c.Verdict(c.now); v.Reason() != test.reason || v.Why != test.why {
			t.Errorf("after %q: %v because %q, want %v because %q", test.script, v.Reason(), v.Why, test.reason, test.why)
		}
	}
}

// What is wrong with two devices is one warning, that names both, since the first; a probe's second failure adds no words.
func TestEachDeviceIsTold(t *testing.T) {
	c := inCourt(t)
	c.Ask(Asked{About: "memory", Kind: Probe, Rise: 9, Fall: 9}, Asked{About: "memory:1", Kind: Notice, Rise: 1, Fall: 1})
	say := func(about, text string, at time.Duration) {
		c.Hear(Signal{Life: 7, About: about, Code: MemoryFilling, Bad: text != "", Text: text}, at)
	}
	want := func(what, text string, since time.Duration) {
		t.Helper()
		w := c.Verdict(time.Hour).Warnings
		if len(w) != 1 || w[0].Text != text || w[0].Since != since {
			t.Errorf("%s: got %+v, want %q since %v", what, w, text, since)
		}
	}
	say("memory:1", "GPU 1: in 3 h", 1*time.Minute)
	want("one", "GPU 1: in 3 h", 1*time.Minute)
	say("memory", "GPU 0: in 2 h", 2*time.Minute)
	want("both", "GPU 0: in 2 h; GPU 1: in 3 h", 1*time.Minute)
	c.Ask(Asked{About: "memory", Kind: Notice, Rise: 1, Fall: 1})
	want("asked for once more", "GPU 0: in 2 h; GPU 1: in 3 h", 1*time.Minute)
	say("memory:1", "GPU 0: in 2 h", 3*time.Minute)
	want("the same words", "GPU 0: in 2 h", 1*time.Minute)
	say("memory:1", "", 4*time.Minute)
	want("the other", "GPU 0: in 2 h", 1*time.Minute)

	c.hears("2m xid-")
	c.Ask(Asked{About: "xid:1", Kind: Fault, Rise: 1, Fall: 1})
	c.Hear(Signal{Life: 7, About: "xid:1", Code: GPUFaulty, Bad: true, Text: "GPU 1: Xid 94"}, c.now)
	c.hears("http-")
	if v := c.Verdict(c.now); v.Warnings[0].Text != "Xid 31; GPU 1: Xid 94" || v.Why != "http:/health failed once: as seen; Xid 31; GPU 1: Xid 94" {
		t.Errorf("two have a fault: %+v", v)
	}

	for _, first := range []string{"memory", "memory:1"} { // neither was told before
		c = inCourt(t)
		c.Ask(Asked{About: "memory:1", Kind: Notice, Rise: 1, Fall: 1})
		say(first, "as seen", 1*time.Minute)
		say("memory", "as seen", 2*time.Minute)
		say("memory:1", "as seen", 2*time.Minute)
		want(first+" first", "as seen", 1*time.Minute)
	}
}

// A warning's time is that of the first failure, and stays while it is seen.
func TestSince(t *testing.T) {
	c := inCourt(t)
	c.hears("119s http- 9s http- 9s http-")
	v := c.Verdict(c.now)
	if len(v.Warnings) != 1 || v.Warnings[0].Since != 2*time.Minute+time.Second {
		t.Errorf("the first failure was after 2m1s; got %+v", v.Warnings)
	}
	c.hears("9s http- http+ http-") // it stays down for all that
	if w := c.Verdict(c.now).Warnings; len(w) != 1 || w[0].Since != 2*time.Minute+time.Second {
		t.Errorf("it has been wrong since 2m1s; got %+v", w)
	}
}

// TestNobodyIsStoppedWhileStreamsGetBytes: whatever is heard, in whatever order, a byte within the veto's time keeps
// the life.
func TestNobodyIsStoppedWhileStreamsGetBytes(t *testing.T) {
	words := []string{
		"tcp+", "tcp-", "down-", "http+", "http-", "http?", "generate+", "generate-", "generate?", "streams+", "streams-",
		"answers+", "answers-", "xid+", "xid-", "memory+", "memory-", "token+", "token-", "wait", "byte", "20s",
	}
	stopped := map[Level]int{}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := inCourt(t)
		var script []string
		byteAt := time.Duration(0)
		for range 60 {
			word := words[r.IntN(len(words))]
			if seed%2 == 0 && word == "byte" { // else one comes in every minute
				continue
			}
			script = append(script, word)
			c.hears(word)
			if word == "byte" {
				byteAt = c.now
			}
			v := c.Verdict(c.now)
			stopped[v.Level]++
			if v.Level > Degraded && c.now-byteAt < veto {
				t.Fatalf("seed %d: %v though a byte came %v ago, after %s", seed, v.Level, c.now-byteAt, strings.Join(script, " "))
			}
			if v.Reason() == NoReason != (v.Level <= Degraded) {
				t.Fatalf("%v asks for a restart: %v", v.Level, v.Reason())
			}
		}
	}
	if stopped[Sick] == 0 || stopped[Stuck] == 0 || stopped[Well] == 0 {
		t.Errorf("the orders showed too little: %v", stopped)
	}
}

// The table of warnables points to causes that exist and stand before what follows from them.
func TestWarnables(t *testing.T) {
	var seen []Code
	for _, w := range warnables {
		if slices.Contains(seen, w.Code) || w.Title == "" || strings.ToLower(w.Title[:1]) != w.Title[:1] {
			t.Errorf("%+v", w)
		}
		for _, cause := range w.DependsOn {
			if !slices.Contains(seen, cause) {
				t.Errorf("%s depends on %s, which doesn't stand before it", w.Code, cause)
			}
		}
		seen = append(seen, w.Code)
		if found, ok := WarnableOf(w.Code); !ok || found.Title != w.Title {
			t.Errorf("%s isn't found", w.Code)
		}
	}
	if got := fmt.Sprint(Low, Medium, High, Well, Degraded, Sick, Stuck); got != "low medium high well degraded sick hung" {
		t.Errorf("the names are %s", got)
	}
}
