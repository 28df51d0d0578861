package sse

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var lineEnds = regexp.MustCompile(`\r\n|\r|\n`)

// referenceEnds says where events end, slowly and with the whole stream in hand: after each blank line, except that a
// CR at the very end may yet be followed by its LF.
func referenceEnds(stream []byte) (ends []int) {
	start := 0
	for _, m := range lineEnds.FindAllIndex(stream, -1) {
		blank := m[0] == start
		start = m[1]
		if blank && (m[1] < len(stream) || stream[m[1]-1] == '\n') {
			ends = append(ends, m[1])
		}
	}
	return ends
}

// message is what a client's handler is given for an event.
type message struct{ Type, Data, LastID string }

// referenceDecode interprets a stream as the WHATWG rules say it, word by word.
func referenceDecode(stream []byte) (messages []message) {
	var eventType, data, lastID string
	lines := lineEnds.Split(string(stream), -1)
	for _, line := range lines[:len(lines)-1] { // what follows the last line end is an unfinished line
		if line == "" { // dispatch
			if data != "" {
				messages = append(messages, message{eventType, strings.TrimSuffix(data, "\n"), lastID})
			}
			eventType, data = "", ""
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			eventType = value
		case "data":
			data += value + "\n"
		case "id":
			if !strings.Contains(value, "\x00") {
				lastID = value
			}
		}
	}
	return messages
}

// slicesOf cuts stream into pieces whose lengths are the bytes of cuts, again and again; without cuts it is one piece.
func slicesOf(stream, cuts []byte) (pieces [][]byte) {
	for i := 0; len(stream) > 0 && len(cuts) > 0; i++ {
		n := min(int(cuts[i%len(cuts)])+1, len(stream))
		pieces = append(pieces, stream[:n])
		stream = stream[n:]
	}
	return append(pieces, stream)
}

func addStreams(f *testing.F) {
	for _, s := range streams {
		f.Add([]byte(s), []byte{})
		f.Add([]byte(s), []byte{0})
		f.Add([]byte(s), []byte{2, 0, 6})
	}
}

// FuzzScanner: any slicing of any bytes has the ends that the reference finds.
func FuzzScanner(f *testing.F) {
	addStreams(f)
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		got := found(scan(slicesOf(stream, cuts)...))
		if diff := cmp.Diff(expect(stream), got); diff != "" {
			t.Errorf("%q cut into %v (-want +got):\n%s", stream, cuts, diff)
		}
	})
}

// FuzzTail: a relay that passes only whole events on, keeps the unfinished tail back, and puts a heartbeat wherever it
// may, is a relay that no client notices. And what Data and Fields read of an event is what a client is given.
func FuzzTail(f *testing.F) {
	addStreams(f)
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		var (
			s            Scanner
			tail         []byte // kept back
			passed, sent []byte // passed on, and that with heartbeats
			read         []message
			lastID       string
		)
		for _, piece := range slicesOf(stream, cuts) {
			for {
				if s.Between() {
					sent = append(sent, Heartbeat...)
				}
				n := s.Next(piece)
				if n < 0 {
					break
				}
				event := append(tail, piece[:n]...)
				piece, tail = piece[n:], nil
				passed, sent = append(passed, event...), append(sent, event...)
				read = appendMessage(read, event, &lastID)
			}
			tail = append(tail, piece...)
		}
		if s.Whole() {
			read = appendMessage(read, tail, &lastID)
		}
		if !bytes.Equal(append(passed, tail...), stream) {
			t.Fatalf("passed on %q and kept %q back of %q", passed, tail, stream)
		}
		want := referenceDecode(stream)
		if diff := cmp.Diff(want, referenceDecode(append(sent, tail...))); diff != "" {
			t.Errorf("a client sees the heartbeats in %q (-want +got):\n%s", stream, diff)
		}
		if diff := cmp.Diff(want, read); diff != "" {
			t.Errorf("events read of %q (-want +got):\n%s", stream, diff)
		}
	})
}

// appendMessage reads a whole event as a client would.
func appendMessage(messages []message, event []byte, lastID *string) []message {
	var eventType string
	for name, value := range Fields(event) {
		switch {
		case string(name) == "event":
			eventType = string(value)
		case string(name) == "id" && bytes.IndexByte(value, 0) < 0:
			*lastID = string(value)
		}
	}
	data := Data(nil, event)
	if data == nil {
		return messages
	}
	return append(messages, message{eventType, string(data), *lastID})
}
