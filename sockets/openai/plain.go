package openai

import "bytes"

// plain reports whether an event can only be one more token of choices that were seen before. It is the short way that
// nearly all events take: a few byte searches instead of a pass over the JSON. False says nothing, true is sure.
//
// Why it is sure. An event can change what is known only by four keys: "error", "object" (that says it is an error),
// "finish_reason" and "index". Each key of a JSON object is followed by a colon, so whoever goes from colon to colon
// meets each key; inside a string the quotes of `"index":` would have backslashes before them. A key can be spelled
// otherwise only by \u0000 to \u007f, and an event that has such an escape anywhere is not plain. Nor does it matter how
// deep a key stands: where no "finish_reason" at all says anything but null, none of a choice does. A choice without an
// index is the first one, so that one has to be among the seen.
func plain(event []byte, seen uint64) bool {
	end := len(event) - len("\n\n")
	if seen&1 == 0 || end < len("data:") || string(event[:len("data:")]) != "data:" ||
		bytes.IndexByte(event, '\n') != end || bytes.IndexByte(event, '\r') >= 0 {
		return false // more than one line, or none of data, or other ends than LF
	}
	text := event[len("data:"):end]
	if !next(text, "{") || spellsASCII(text) {
		return false
	}
	for at := 0; ; at++ {
		n := bytes.IndexByte(text[at:], ':')
		if n < 0 {
			return true
		}
		at += n
		if mayMatter(text[:at]) && !saysNothing(text[:at], text[at+1:], seen) {
			return false
		}
	}
}

// mayMatter tells by the last letter before a colon that it does not end one of the four keys, which is so for most.
func mayMatter(before []byte) bool {
	if len(before) < 2 {
		return false
	}
	switch before[len(before)-1] {
	case '"':
		last := before[len(before)-2]
		return last == 'r' || last == 't' || last == 'n' || last == 'x'
	case ' ', '\t':
		return true // white space before a colon is rare: look closely
	}
	return false
}

// saysNothing reports whether what ends before a colon is none of the four keys, or its value, after the colon, says
// nothing new.
func saysNothing(before, after []byte, seen uint64) bool {
	key := trimSpace(before)
	switch {
	case ends(key, `"error"`):
		return false
	case ends(key, `"object"`):
		return !next(after, `"error"`)
	case ends(key, `"finish_reason"`):
		return next(after, "null")
	case ends(key, `"index"`):
		return isSeen(after, seen)
	}
	return true
}

func ends(text []byte, key string) bool {
	return len(text) >= len(key) && string(text[len(text)-len(key):]) == key
}

// trimSpace cuts white space off the end.
func trimSpace(text []byte) []byte {
	for len(text) > 0 && isSpace(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}

// isSeen reports whether a whole index of a choice that was seen comes next.
func isSeen(text []byte, seen uint64) bool {
	r := reader{text: text}
	return choiceBit(r.value())&seen != 0
}

// next reports whether token comes next in text, after white space.
func next(text []byte, token string) bool {
	for len(text) > 0 && isSpace(text[0]) {
		text = text[1:]
	}
	return len(text) >= len(token) && string(text[:len(token)]) == token
}

// spellsASCII reports whether text has what may be the escape of an ASCII letter.
func spellsASCII(text []byte) bool {
	for {
		n := bytes.IndexByte(text, '\\')
		if n < 0 {
			return false
		}
		text = text[n+1:]
		if bytes.HasPrefix(text, []byte("u00")) && (len(text) == 3 || text[3] < '8') {
			return true
		}
	}
}
