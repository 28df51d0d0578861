package sse

import (
	"bytes"
	"iter"
)

// Fields goes through the fields of a whole event in order: the name, and the value without the one space that may
// stand before it. Comments and blank lines are not fields. Both slices lie in event.
func Fields(event []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for len(event) > 0 {
			var line []byte
			line, event = cutLine(event)
			name, value := cutField(line)
			if len(name) > 0 && !yield(name, value) {
				return
			}
		}
	}
}

// Data returns what the data fields of a whole event say together, joined by LF. It is nil when there is none, empty
// when there is one that says nothing. A single field is returned as it lies in event, without a copy; several are
// appended to dst[:0].
func Data(dst, event []byte) []byte {
	var data []byte
	lines := 0
	for len(event) > 0 {
		var line []byte
		line, event = cutLine(event)
		name, value := cutField(line)
		if string(name) != "data" {
			continue
		}
		switch lines++; lines {
		case 1:
			data = value
		case 2:
			data = append(append(append(dst[:0], data...), '\n'), value...)
		default:
			data = append(append(data, '\n'), value...)
		}
	}
	return data
}

// cutLine splits the first line off p, without its end. Of a CRLF it leaves the LF, which is then a blank line and says
// as little.
func cutLine(p []byte) (line, rest []byte) {
	end := lineEnd(p)
	if end < 0 {
		return p, nil
	}
	return p[:end], p[end+1:]
}

// cutField splits a line into the name and the value of its field. A blank line and a comment have no name.
func cutField(line []byte) (name, value []byte) {
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found {
		return line, line[len(line):]
	}
	return name, bytes.TrimPrefix(value, []byte(" "))
}
