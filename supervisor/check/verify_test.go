package check

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// once asks the fake worker once and returns the client's judgement.
func once(t *testing.T, w *fakeWorker, g Group) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	patience := 15 * time.Second
	if w.plant.hang {
		patience = 300 * time.Millisecond
	}
	l := &Load{opts: LoadOptions{Address: w.address(), Rate: 1000, Patience: patience, Seed: rand.Uint64()}}
	return l.Ask(ctx, g)
}

// text is where the n-th event with text begins, in an answer of a chat.
func textAt(answer []byte, n int) int {
	at := 0
	for range n + 1 {
		at += bytes.Index(answer[at:], []byte(`"delta":{"content":"`)) + len(`"delta":{"content":"`)
	}
	return at
}

func eventAt(answer []byte, n int) (from, to int) {
	for range n {
		from += bytes.Index(answer[from:], []byte("\n\n")) + 2
	}
	return from, from + bytes.Index(answer[from:], []byte("\n\n")) + 2
}

// failed is an answer that an error event ends.
func failed(b []byte) []byte {
	from, _ := eventAt(b, 6)
	return append(bytes.Clone(b[:from]), `data: {"error":{"message":"gone"}}`+"\n\n"...)
}

// anyFlaw is of a fault that is named by the bytes that happen to follow it, such as a random id's.
const anyFlaw Flaw = 255

func TestEveryPlantedFaultIsCaught(t *testing.T) {
	cut := func(b []byte, from, to int) []byte { return slices.Delete(bytes.Clone(b), from, to) }
	put := func(b []byte, at int, s string) []byte { return slices.Insert(bytes.Clone(b), at, []byte(s)...) }
	in := func(b []byte, what string) int { return bytes.Index(b, []byte(what)) }
	for _, test := range []struct {
		plant
		outcome Outcome
		flaw    Flaw
	}{
		{plant{name: "nothing"}, Complete, NoFlaw},
		{plant{name: "comment frames between events", payload: func(b []byte) []byte {
			return []byte(":\n\n: keep-alive\n\n" + strings.ReplaceAll(string(b), "\n\n", "\n\n:\n\n"))
		}}, Complete, NoFlaw},

		{plant{name: "one byte of text lost", payload: func(b []byte) []byte { at := textAt(b, 5); return cut(b, at+1, at+2) }}, Corrupt, Lost},
		{plant{name: "one byte of boilerplate lost", payload: func(b []byte) []byte { at := textAt(b, 5); return cut(b, at-9, at-8) }}, Corrupt, Lost},
		{plant{name: "one event lost", payload: func(b []byte) []byte { from, to := eventAt(b, 6); return cut(b, from, to) }}, Corrupt, Lost},
		{plant{name: "a stretch over two events lost", payload: func(b []byte) []byte { return cut(b, textAt(b, 5), textAt(b, 6)+2) }}, Corrupt, Lost},
		{plant{name: "one byte doubled", payload: func(b []byte) []byte { at := textAt(b, 7) + 1; return put(b, at, string(b[at:at+1])) }}, Corrupt, Doubled},
		{plant{name: "one event doubled", payload: func(b []byte) []byte { from, to := eventAt(b, 8); return put(b, to, string(b[from:to])) }}, Corrupt, Doubled},
		{plant{name: "the last event doubled", payload: func(b []byte) []byte { return append(b, doneEvent...) }}, Corrupt, Doubled},
		{plant{name: "two neighbours swapped", payload: func(b []byte) []byte {
			b = bytes.Clone(b)
			at := textAt(b, 5) + 1
			for b[at] == b[at+1] {
				at++
			}
			b[at], b[at+1] = b[at+1], b[at]
			return b
		}}, Corrupt, Swapped},
		{plant{name: "one byte changed", payload: func(b []byte) []byte { b = bytes.Clone(b); b[textAt(b, 9)+1] ^= 1; return b }}, Corrupt, Changed},
		{plant{name: "the first event changed", payload: func(b []byte) []byte { return bytes.Replace(b, []byte("assistant"), []byte("assistans"), 1) }}, Corrupt, Changed},
		{plant{name: "a comment inside an event", payload: func(b []byte) []byte { return put(b, textAt(b, 5), ":\n\n") }}, Corrupt, Changed},
		{plant{name: "a comment without blank line", payload: func(b []byte) []byte { from, _ := eventAt(b, 5); return put(b, from, ":\n") }}, Corrupt, anyFlaw},
		{plant{name: "an empty event", payload: func(b []byte) []byte { from, _ := eventAt(b, 5); return put(b, from, "\n\n") }}, Corrupt, Doubled},
		{plant{name: "the rest from another life", payload: func(b []byte) []byte {
			from, _ := eventAt(b, 5)
			return append(bytes.Clone(b[:from]), bytes.ReplaceAll(b[from:], []byte("0123456789abcdef"), []byte("fedcba9876543210"))...)
		}}, Corrupt, TwoLives},

		{plant{name: "a clean end between two events", payload: func(b []byte) []byte { from, _ := eventAt(b, 9); return b[:from] }}, Corrupt, Short},
		{plant{name: "a clean end inside an event", payload: func(b []byte) []byte { return b[:textAt(b, 9)] }}, Corrupt, Short},
		{plant{name: "a clean end before [DONE]", payload: func(b []byte) []byte { return bytes.TrimSuffix(b, []byte(doneEvent)) }}, Corrupt, Short},
		{plant{name: "a clean end before anything", payload: func([]byte) []byte { return nil }}, Corrupt, Short},

		{plant{name: "truncated", wire: func(b []byte) []byte { return b[:len(b)/2] }}, Cut, NoFlaw},
		{plant{name: "truncated before the last chunk", wire: func(b []byte) []byte { return bytes.TrimSuffix(b, []byte("0\r\n\r\n")) }}, Cut, NoFlaw},
		{plant{name: "truncated in the head", wire: func(b []byte) []byte { return b[:20] }}, Cut, NoFlaw},
		{plant{name: "no answer", wire: func([]byte) []byte { return nil }}, Cut, NoFlaw},
		{plant{name: "silence", wire: func(b []byte) []byte { return b[:len(b)/2] }, hang: true}, Cut, NoFlaw},
		{plant{name: "an error event", payload: failed, wire: func(b []byte) []byte { return bytes.TrimSuffix(b, []byte("0\r\n\r\n")) }}, Cut, NoFlaw},
		{plant{name: "an error event and a clean end", payload: failed}, Corrupt, Short},

		{plant{name: "refused", wire: func([]byte) []byte {
			return []byte("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 20\r\nContent-Length: 2\r\n\r\n{}")
		}}, Refused, NoFlaw},

		{plant{name: "a chunk longer than its size", wire: func(b []byte) []byte { return put(b, in(b, "data:")+9, "x") }}, Corrupt, Misframed},
		{plant{name: "a chunk size with a sign", wire: func(b []byte) []byte { return put(b, in(b, "\r\n\r\n")+4, "+") }}, Corrupt, Misframed},
		{plant{name: "a chunk line with a bare LF", wire: func(b []byte) []byte { at := in(b, "\r\ndata:"); return cut(b, at, at+1) }}, Corrupt, Misframed},
		{plant{name: "a head with a bare LF", wire: func(b []byte) []byte { at := in(b, "\r\nx-request-id"); return cut(b, at, at+1) }}, Corrupt, Misframed},
		{plant{name: "two framings", wire: func(b []byte) []byte { return put(b, in(b, "content-type"), "content-length: 5\r\n") }}, Corrupt, Misframed},
		{plant{name: "bytes after the end", wire: func(b []byte) []byte { return append(b, "HTTP/1.1 "...) }}, Corrupt, Doubled},
		{plant{name: "another request's answer", wire: func(b []byte) []byte {
			return bytes.Replace(b, []byte("x-request-id: s"), []byte("x-request-id: S"), 1)
		}}, Corrupt, Misplaced},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := once(t, startFake(t, test.plant), Group{Kind: Stream, Tokens: [2]int{40, 40}})
			named := a.Flaw == test.flaw || test.flaw == anyFlaw && a.Flaw != NoFlaw
			if a.Outcome != test.outcome || !named {
				t.Errorf("want %s %q, the client says %s %q: %s", test.outcome, test.flaw, a.Outcome, a.Flaw, a.Why)
			}
			if test.outcome == Complete && (a.Tokens != 40 || a.Nonce == "") {
				t.Errorf("want 40 tokens of a life, got %d of %q", a.Tokens, a.Nonce)
			}
		})
	}
}

func TestEveryPlaceOfALostByteIsSeen(t *testing.T) {
	s := newScript(ask{id: "stream-1", kind: Stream, tokens: 5, usage: true, prompt: promptOf("user:hi\n"), promptLen: 8})
	s.reveal("17", "sim-1")
	var whole []byte
	for k := range s.events() {
		whole = s.event(whole, k)
	}
	if err := newScript(s.ask).learn(whole[:bytes.Index(whole, []byte("\n\n"))+2]); err != nil {
		t.Fatalf("the first event is refused: %v", err)
	}
	for at := range whole {
		for name, harmed := range map[string][]byte{
			"lost":    slices.Delete(bytes.Clone(whole), at, at+1),
			"doubled": slices.Insert(bytes.Clone(whole), at, whole[at]),
		} {
			v := &verifier{script: newScript(s.ask)}
			v.feed(harmed)
			if v.whole() {
				t.Errorf("byte %d (%q) %s and nobody noticed", at, whole[at], name)
			}
		}
	}
}

func TestAnySlicingOfAnAnswerIsTheSameAnswer(t *testing.T) {
	for _, kind := range []Kind{Stream, Completion} {
		q := ask{id: "x-1", kind: kind, tokens: 6, usage: true, prompt: promptOf("p"), promptLen: 1}
		s := newScript(q)
		s.reveal("17", "sim-1")
		whole := []byte(":\n\n")
		for k := range s.events() {
			whole = append(s.event(whole, k), ": hi\n\n"...)
		}
		for step := 1; step <= len(whole); step++ {
			v := &verifier{script: newScript(q)}
			for at := 0; at < len(whole); at += step {
				v.feed(whole[at:min(at+step, len(whole))])
			}
			if !v.whole() || v.texts != 6 || v.comments != s.events()+1 {
				outcome, flaw, why := v.judge()
				t.Fatalf("%s in steps of %d: whole %v, %d tokens, %d comments; %s %s %s", kind, step, v.whole(), v.texts, v.comments, outcome, flaw, why)
			}
		}
	}
}

func TestOtherKindsOfClients(t *testing.T) {
	for _, g := range []Group{
		{Kind: Completion, Tokens: [2]int{20, 20}},
		{Kind: Slow, Tokens: [2]int{100, 100}},
		{Kind: Plain, Tokens: [2]int{20, 20}},
		{Kind: Image, Tokens: [2]int{20, 20}, Body: [2]int{1 << 20, 1 << 20}},
		{Kind: Upload, Body: [2]int{100_000, 200_000}},
		{Kind: Echo, Body: [2]int{100_000, 200_000}},
	} {
		t.Run(g.Kind.String(), func(t *testing.T) {
			t.Parallel()
			if a := once(t, startFake(t, plant{}), g); a.Outcome != Complete {
				t.Errorf("a good answer is %s %s: %s", a.Outcome, a.Flaw, a.Why)
			}
			// Half of the large bodies come in chunks.
			for range 3 {
				if a := once(t, startFake(t, plant{}), g); a.Outcome != Complete {
					t.Errorf("a good answer is %s %s: %s", a.Outcome, a.Flaw, a.Why)
				}
			}
			w := startFake(t, plant{payload: func(b []byte) []byte { // the sum of a body, the text of an answer
				at := len(b) * 3 / 5
				b[at] ^= 1
				return b
			}})
			if a := once(t, w, g); a.Outcome != Corrupt {
				t.Errorf("an answer with a wrong byte is %s", a.Outcome)
			}
		})
	}
}

func TestALeaverLeaves(t *testing.T) {
	a := once(t, startFake(t, plant{}), Group{Kind: Leaver, Tokens: [2]int{40, 40}})
	if a.Outcome != Left || a.Tokens < 20 {
		t.Errorf("want it gone after 20 tokens, it is %s after %d", a.Outcome, a.Tokens)
	}
}

func TestTheDocumentedExamplesOfTheText(t *testing.T) {
	for prompt, want := range map[string]string{
		"hello":     " tap wait open <answer>",
		"user:Hi\n": " home type type 自动auto 点击click",
		"1,2,3":     " type screen button open",
		"":          " tap type 点击click open wait 🙂yes",
	} {
		if got := string(promptOf(prompt).appendText(nil, strings.Count(want, " "))); got != want {
			t.Errorf("prompt %q: want %q, got %q", prompt, want, got)
		}
	}
}

func ExampleAnswer() {
	fmt.Println(Answer{Kind: Stream, Outcome: Corrupt, Flaw: Lost, Why: "event 3", ID: "stream-1"}.note())
	// Output: stream corrupt (lost) after 0s, 0 tokens: event 3 [stream-1, life unknown]
}
