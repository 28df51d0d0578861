package openai

import (
	"bytes"
	"encoding/json"
)

// reader steps through a JSON text, forward only, and builds nothing. On a valid text it is exact. On any other it sees
// something or other, but each step gets further and none goes beyond the text.
type reader struct {
	text []byte
	at   int
}

// enter skips white space and, if b is next, b as well: '{' or '[' of a value that is to be read from the inside.
func (r *reader) enter(b byte) bool {
	r.space()
	if r.at == len(r.text) || r.text[r.at] != b {
		return false
	}
	r.at++
	return true
}

// more steps to the next member or element and reports whether there is one; if not, it steps over the closing bracket.
func (r *reader) more(closing byte) bool {
	if r.enter(closing) {
		return false
	}
	r.enter(',')
	r.space()
	return r.at < len(r.text)
}

// key returns what the next string says and steps over the colon behind it.
func (r *reader) key() []byte {
	key := content(r.value())
	r.enter(':')
	return key
}

// value returns the next value as it is written and steps over it.
func (r *reader) value() []byte {
	r.space()
	from := r.at
	if from == len(r.text) {
		return nil
	}
	switch r.text[from] {
	case '"':
		r.string()
	case '{', '[':
		r.nested()
	default:
		r.at++
		for r.at < len(r.text) && !endsScalar(r.text[r.at]) {
			r.at++
		}
	}
	return r.text[from:r.at]
}

// nested steps over an object or array. In a valid text its brackets match, so it is enough to count them.
func (r *reader) nested() {
	for depth := 0; r.at < len(r.text); {
		switch r.text[r.at] {
		case '"':
			r.string()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		r.at++
		if depth == 0 {
			return
		}
	}
}

// string steps over a string: up to the first quote that has an even number of backslashes before it.
func (r *reader) string() {
	from := r.at + 1
	for at := from; ; {
		n := bytes.IndexByte(r.text[at:], '"')
		if n < 0 {
			r.at = len(r.text)
			return
		}
		at += n
		escapes := 0
		for at-escapes > from && r.text[at-escapes-1] == '\\' {
			escapes++
		}
		at++
		if escapes%2 == 0 {
			r.at = at
			return
		}
	}
}

// content returns what a string says, and nil of any other value. No worker has a reason to write one of our keys with
// escapes; only such a string is copied.
func content(value []byte) []byte {
	end := len(value) - 1
	if end < 1 || value[0] != '"' {
		return nil
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1:end]
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return nil
	}
	return []byte(s)
}

func (r *reader) space() {
	for r.at < len(r.text) && isSpace(r.text[r.at]) {
		r.at++
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

func endsScalar(b byte) bool { return b == ',' || b == '}' || b == ']' || b == ':' || isSpace(b) }
