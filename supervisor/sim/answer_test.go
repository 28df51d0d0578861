package sim

import (
	"strings"
	"testing"
	"time"
)

// ask makes an answer to a question, 10 s after the pacer's clock began.
func ask(t *testing.T, body, switches string) *answer {
	t.Helper()
	q, _, err := parseQuestion([]byte(body), false, "m")
	if err != nil {
		t.Fatal(err)
	}
	way, err := DefaultFaults().Stream.with([]byte(switches))
	if err != nil {
		t.Fatal(err)
	}
	return newAnswer(dialect{question: q, id: "cmpl-1", life: testLife}, way, false, false, 10*time.Second)
}

// TestPace: token k is due k intervals after the prompt is processed, for all choices at once; the rest follows at once.
func TestPace(t *testing.T) {
	a := ask(t, `{"prompt":"hello","max_tokens":5,"n":2,"stream":true}`, `{"tokens_per_second":4,"prefill":"2s","tokens_per_event":2}`)
	want := []time.Duration{
		0,                                  // the head
		12 * time.Second, 12 * time.Second, // tokens 0 and 1 of both choices
		12500 * time.Millisecond, 12500 * time.Millisecond, // 2 and 3
		13 * time.Second, 13 * time.Second, // 4
		0, 0, // [DONE], the last chunk
	}
	var all strings.Builder
	for i, at := range want {
		if a.due() != at {
			t.Errorf("write %d is due at %v, want %v", i, a.due(), at)
		}
		bytes, follows := a.next(nil)
		all.Write(bytes)
		if last := i == len(want)-1; (follows == moveEnd) != last {
			t.Fatalf("after write %d follows %v", i, follows)
		}
	}
	if !strings.Contains(all.String(), `"index":0,"text":" tap wait"`) || !strings.Contains(all.String(), `"index":0,"text":" open <answer>"`) {
		t.Errorf("two tokens in one event were to come, got\n%s", all.String())
	}
}

// TestPlainPace: a plain answer comes when its last token would.
func TestPlainPace(t *testing.T) {
	a := ask(t, `{"prompt":"hello","max_tokens":5}`, `{"tokens_per_second":4,"prefill":"2s"}`)
	if a.due() != 13*time.Second {
		t.Errorf("due at %v, want 13s", a.due())
	}
}

// TestResumeKeepsThePace: after a hang the next token is due at once and the one after it an interval later.
func TestResumeKeepsThePace(t *testing.T) {
	a := ask(t, `{"prompt":"hello","max_tokens":5,"stream":true}`, `{"tokens_per_second":4}`)
	for range 3 { // head, two tokens
		a.next(nil)
	}
	a.resume(time.Minute)
	if a.due() != time.Minute {
		t.Errorf("due at %v, want 1m", a.due())
	}
	a.next(nil)
	if a.due() != time.Minute+250*time.Millisecond {
		t.Errorf("then due at %v, want 1m0.25s", a.due())
	}
	a.resume(0)
	if a.due() != time.Minute+250*time.Millisecond {
		t.Errorf("a resume before its time moved it to %v", a.due())
	}
}

// TestAbort: told to end, every choice that is not over ends with "abort" at once; a plain answer has what it would
// have said by then.
func TestAbort(t *testing.T) {
	a := ask(t, `{"prompt":"hello","max_tokens":5,"n":2,"stream":true}`, `{"tokens_per_second":4}`)
	for range 2 { // head, the first token of choice 0
		a.next(nil)
	}
	a.abort(11 * time.Second)
	var rest strings.Builder
	for follows := moveOn; follows == moveOn; {
		var bytes []byte
		if a.due() != 0 {
			t.Errorf("due at %v, want at once", a.due())
		}
		bytes, follows = a.next(nil)
		rest.Write(bytes)
	}
	for _, want := range []string{
		`"index":0,"text":"","logprobs":null,"finish_reason":"abort"`,
		`"index":1,"text":"","logprobs":null,"finish_reason":"abort"`,
		"data: [DONE]\n\n\r\n0\r\n\r\n",
	} {
		if strings.Count(rest.String(), want) != 1 {
			t.Errorf("want once %s in\n%s", want, rest.String())
		}
	}

	plain := ask(t, `{"prompt":"hello","max_tokens":5}`, `{"tokens_per_second":4}`)
	plain.abort(10*time.Second + 600*time.Millisecond) // tokens 0, 1 and 2 are due
	bytes, _ := plain.next(nil)
	if want := `"text":" tap wait open","logprobs":null,"finish_reason":"abort"`; !strings.Contains(string(bytes), want) {
		t.Errorf("want %s in\n%s", want, bytes)
	}
}
