package check

import (
	"bytes"
	"fmt"
)

// verifier compares the payload of one SSE answer, byte for byte and as it comes, with what the worker must have written.
// Comment frames may stand between two events, since a relay may keep a silent stream alive with them; nothing else may be
// added anywhere.
type verifier struct {
	script   *script
	next     int    // the event after the one that want belongs to
	want     []byte // what has not come yet of the event before next
	event    []byte // the whole of that event; want is its end
	first    []byte // the first event, collected until it is whole: the rest can be foretold only from it
	texts    int    // text events that came whole
	comment  commentState
	comments int

	wrong *mismatch
}

// commentState is where in a comment frame (":", any text, LF, LF) the payload stands.
type commentState uint8

const (
	noComment commentState = iota
	inComment
	afterComment // the line has ended, the blank line is due
)

// mismatch is the place where an answer went wrong, and what came from there on.
type mismatch struct {
	event  int // index of the event
	offset int // in the event
	why    string
	got    []byte
}

// evidence is how much of a wrong answer is collected: more than one event, so that repeating boilerplate can't mislead.
const evidence = 600

// feed compares the next payload; false: the answer is wrong from here on, and evidence is all that is still wanted.
func (v *verifier) feed(p []byte) bool {
	for len(p) > 0 {
		if v.wrong != nil {
			v.wrong.got = append(v.wrong.got, p[:min(len(p), evidence-min(evidence, len(v.wrong.got)))]...)
			return false
		}
		switch {
		case v.comment != noComment:
			p = v.skipComment(p)
		case len(v.want) == 0 && len(v.first) == 0 && p[0] == ':':
			v.comment = inComment
		case v.next == 0:
			p = v.learn(p)
		case len(v.want) == 0 && v.next == v.script.events():
			v.fail(0, "bytes after the end")
		default:
			if len(v.want) == 0 {
				v.event = v.script.event(v.event[:0], v.next)
				v.want = v.event
				v.next++
			}
			p = v.compare(p)
		}
	}
	return v.wrong == nil
}

func (v *verifier) compare(p []byte) []byte {
	n := min(len(p), len(v.want))
	if !bytes.Equal(p[:n], v.want[:n]) {
		same := 0
		for p[same] == v.want[same] {
			same++
		}
		v.next--
		v.fail(len(v.event)-len(v.want)+same, "other bytes than the worker's")
		return p[same:]
	}
	v.want = v.want[n:]
	if len(v.want) == 0 && v.script.isText(v.next-1) {
		v.texts++
	}
	return p[n:]
}

// learn collects the first event, which holds what only the worker knows: its nonce, the answer's id and time.
func (v *verifier) learn(p []byte) []byte {
	v.first = append(v.first, p...)
	end := bytes.Index(v.first, []byte("\n\n"))
	if end < 0 {
		if len(v.first) > evidence {
			v.failFirst("the first event has no end")
		}
		return nil
	}
	rest := p[len(p)-(len(v.first)-(end+2)):]
	v.first = v.first[:end+2]
	if err := v.script.learn(v.first); err != nil {
		v.failFirst(err.Error())
		return rest
	}
	v.next, v.first = 1, nil
	if v.script.isText(0) {
		v.texts++
	}
	return rest
}

func (v *verifier) skipComment(p []byte) []byte {
	if v.comment == afterComment {
		if p[0] != '\n' {
			v.fail(0, "a comment without its blank line")
			return p
		}
		v.comment = noComment
		v.comments++
		return p[1:]
	}
	_, after, ok := bytes.Cut(p, []byte{'\n'})
	if !ok {
		return nil
	}
	v.comment = afterComment
	return after
}

func (v *verifier) fail(offset int, why string) {
	v.wrong = &mismatch{event: v.next, offset: offset, why: why}
}

func (v *verifier) failFirst(why string) {
	v.fail(0, why)
	v.wrong.got = v.first
}

// whole says whether every byte of the answer came.
func (v *verifier) whole() bool {
	return v.wrong == nil && v.next == v.script.events() && len(v.want) == 0 && v.comment == noComment
}

// enough says whether so much of a wrong answer was collected that its flaw can be named.
func (v *verifier) enough() bool { return v.wrong != nil && len(v.wrong.got) >= evidence }

// judge names what is wrong. An error event is a cut that the client can see, and no flaw.
func (v *verifier) judge() (Outcome, Flaw, string) {
	m := v.wrong
	if m == nil {
		return Complete, NoFlaw, ""
	}
	event, after := v.around(m.event)
	came := append(bytes.Clone(event[:min(m.offset, len(event))]), m.got...)
	if bytes.HasPrefix(came, []byte(`data: {"error":`)) {
		line, _, _ := bytes.Cut(came, []byte("\n"))
		return Cut, NoFlaw, fmt.Sprintf("error event %.200q", line)
	}
	if m.event == 0 { // nothing to compare with
		return Corrupt, Changed, fmt.Sprintf("first event: %s: %.200q", m.why, came)
	}
	before := append(v.before(m.event), event[:min(m.offset, len(event))]...)
	after = append(bytes.Clone(event[min(m.offset, len(event)):]), after...)
	flaw := compareFlaw(before, after, m.got)
	if flaw == Changed {
		if other := fingerprintOf(came); other != "" && other != v.script.nonce {
			return Corrupt, TwoLives, fmt.Sprintf("event %d is of life %s, the ones before of %s", m.event, other, v.script.nonce)
		}
	}
	return Corrupt, flaw, fmt.Sprintf("%s: event %d byte %d: want %.60q, got %.60q", m.why, m.event, m.offset, after, m.got)
}

const eventsAround = 4

// around is event k and the bytes that must follow it.
func (v *verifier) around(k int) (event, after []byte) {
	if k == 0 {
		return nil, nil
	}
	if k < v.script.events() {
		event = v.script.event(nil, k)
	}
	for i := k + 1; i < min(k+eventsAround, v.script.events()); i++ {
		after = v.script.event(after, i)
	}
	return event, after
}

// before is what came before event k, the first event excepted.
func (v *verifier) before(k int) (b []byte) {
	for i := max(1, k-eventsAround); i < min(k, v.script.events()); i++ {
		b = v.script.event(b, i)
	}
	return b
}

// compareFlaw names the flaw of got, where before came and after was due. The smallest edit that explains all of got wins.
func compareFlaw(before, after, got []byte) Flaw {
	if len(after) >= 2 && len(got) >= 2 && got[0] == after[1] && got[1] == after[0] && agree(after[2:], got[2:]) {
		return Swapped
	}
	all := append(bytes.Clone(before), after...)
	for n := 1; n <= max(len(before), len(after)); n++ {
		if n < len(after) && agree(after[n:], got) {
			return Lost
		}
		if n <= len(before) && agree(all[len(before)-n:], got) {
			return Doubled
		}
	}
	return Changed
}

// agree says whether got is what want says, as far as both go. A handful of equal bytes proves nothing.
func agree(want, got []byte) bool {
	n := min(len(want), len(got))
	return n >= min(8, len(got)) && bytes.Equal(want[:n], got[:n])
}
