// Package sse finds the events in a text/event-stream body as its bytes come by.
//
// An event is everything up to and including a blank line. That blank line is the only place where a relay may do
// anything of its own: put in a heartbeat, judge what was said, end the stream with an error of ours, or splice another
// answer in. So this package says where events end, however the bytes were cut on their way, and reads the fields of an
// event that is whole. It follows the WHATWG rules (https://html.spec.whatwg.org/multipage/server-sent-events.html):
// lines end with LF, CRLF or CR. One rule is left out: a byte order mark at the start of a stream is not skipped, as
// no worker sends one and no SDK skips it.
//
// It holds no bytes. A Scanner is one byte of state, so a copy of it is a checkpoint; the caller keeps an unfinished tail.
package sse

import "bytes"

// Heartbeat keeps a silent stream alive. It is a bare comment because anything else is read as an event by some SDK:
// openai-python and openai-node raise on a frame that has only `event:`, `id:` or `retry:`. It may be sent only where
// Scanner.Between is true.
const Heartbeat = ":\n\n"

// Scanner finds the ends of events. Its zero value stands at the start of a stream. It has no pointers and is
// comparable; a copy goes on by itself.
type Scanner struct {
	at position
}

// position is where in an event the scanner stands.
type position uint8

const (
	between   position = iota // no byte of an event yet: the start of a stream, or just after a blank line
	inLine                    // in a line that has a byte
	lineStart                 // a line of this event has ended
	afterCR                   // a line of this event has ended with CR: an LF that follows belongs to that end
	blankCR                   // a blank line has ended with CR: the event is whole, but an LF that follows belongs to it
)

// Next returns the index just after the first end of an event in p, or -1 when p ends inside an event. What it saw is
// remembered, so the next call is given what comes after: p[n:] after an index n, new bytes after -1. The ends do not
// depend on how the stream was sliced into calls.
//
// A blank line that ends with CR is an end only once the next byte is known, since that may be its LF. Hence an index
// of 0: the event ended with the last byte of the call before.
func (s *Scanner) Next(p []byte) int {
	for i := 0; i < len(p); {
		switch s.at {
		case between, lineStart:
			switch p[i] {
			case '\n':
				s.at = between
				return i + 1
			case '\r':
				s.at = blankCR
			default:
				s.at = inLine
			}
			i++
		case inLine:
			n := lineEnd(p[i:])
			if n < 0 {
				return -1
			}
			i += n
			s.at = lineStart
			if p[i] == '\r' {
				s.at = afterCR
			}
			i++
		case afterCR:
			s.at = lineStart
			if p[i] == '\n' {
				i++
			}
		case blankCR:
			s.at = between
			if p[i] == '\n' {
				i++
			}
			return i
		}
	}
	return -1
}

// Between reports whether no byte of an unfinished event was seen: what is sent now stands between two events.
func (s *Scanner) Between() bool { return s.at == between }

// Whole reports whether the bytes since the last end are a whole event whose last CR could only be followed by its LF.
// It matters at the end of a stream, where no further byte can tell.
func (s *Scanner) Whole() bool { return s.at == blankCR }

// window bounds how far lineEnd looks for an LF before it looks for a CR that comes earlier. Without it, a stream of
// nothing but CRs would be searched to its end for each of its lines.
const window = 1024

// lineEnd returns the index of the first LF or CR in p, or -1.
func lineEnd(p []byte) int {
	for from := 0; from < len(p); from += window {
		w := p[from:min(from+window, len(p))]
		lf := bytes.IndexByte(w, '\n')
		if lf >= 0 {
			w = w[:lf]
		}
		if cr := bytes.IndexByte(w, '\r'); cr >= 0 {
			return from + cr
		}
		if lf >= 0 {
			return from + lf
		}
	}
	return -1
}
