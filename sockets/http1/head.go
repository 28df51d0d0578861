package http1

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// FindHeadEnd looks for the blank line that ends a head: end is the index just after it, or 0 while it hasn't come. A caller that reads more calls again with the longer b and, as from,
// len(b) of the call before: no byte is judged twice.
//
// What can't become a head is refused as soon as its bytes are seen, not when the blank line comes: a control byte, a line end other than CRLF, a first byte that begins no start line
// (so also an empty line before it) and more than [MaxHead] bytes. Status is 400 or 431; where b came from a worker the answer is 502 whatever Status says.
func FindHeadEnd(b []byte, from int) (end int, bad *Malformed) {
	if len(b) > 0 && !isToken[b[0]] {
		return 0, refuse(400, "first byte begins no start line")
	}
	whole := len(b) < MaxHead
	b = b[:min(len(b), MaxHead)]
	if from > 0 && b[from-1] == '\r' {
		from-- // its line feed hadn't come
	}
	for {
		from += controlIn(b[from:])
		switch {
		case from == len(b), from == len(b)-1 && b[from] == '\r':
			if !whole {
				return 0, refuse(431, "head is too long")
			}
			return 0, nil
		case b[from] != '\r' || b[from+1] != '\n':
			return 0, refuse(400, controlReason(b[from]))
		case b[from-1] == '\n':
			return from + 2, nil
		}
		from += 2
	}
}

// controlIn returns the index of the first control byte in b other than a tab, or len(b). It is where most bytes of a head are looked at, so it takes eight at a time.
func controlIn(b []byte) int {
	const ones = 0x0101010101010101
	at := 0
	for ; at+8 <= len(b); at += 8 {
		x := binary.LittleEndian.Uint64(b[at:])
		del := x ^ ones*0x7f
		// A byte's high bit is set if it is below a space, or DEL. A borrow can set further ones above the first, never one below it.
		hits := ((x-ones*0x20)&^x | (del-ones)&^del) & (ones * 0x80)
		for ; hits != 0; hits &= hits - 1 {
			hit := at + bits.TrailingZeros64(hits)/8
			if isControl(b[hit]) {
				return hit
			}
		}
	}
	for ; at < len(b); at++ {
		if isControl(b[at]) {
			return at
		}
	}
	return len(b)
}

// isControl says whether c may stand nowhere in a line: a tab may.
func isControl(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

func controlReason(c byte) string {
	switch c {
	case '\r':
		return "bare carriage return"
	case '\n':
		return "bare line feed"
	case 0:
		return "NUL byte"
	}
	return "control byte"
}

// firstField makes sure that head is one whole head and returns where its first field line begins. From here on each line is known to end with CRLF and to have no other control byte than
// tabs.
func firstField(head []byte) (at int, bad *Malformed) {
	end, bad := FindHeadEnd(head, 0)
	switch {
	case bad != nil:
		return 0, bad
	case end != len(head) || end == 0:
		return 0, refuse(400, "head doesn't end with its blank line")
	}
	return bytes.IndexByte(head, '\n') + 1, nil
}

// versionMinor reads an HTTP-version: the minor number of HTTP/1.0 or HTTP/1.1.
func versionMinor(v []byte) (minor uint8, bad *Malformed) {
	switch {
	case string(v) == "HTTP/1.1":
		return 1, nil
	case string(v) == "HTTP/1.0":
		return 0, nil
	case len(v) == 8 && string(v[:5]) == "HTTP/" && isDigit(v[5]) && v[6] == '.' && isDigit(v[7]):
		return 0, refuse(505, "HTTP version is neither 1.0 nor 1.1")
	}
	return 0, refuse(400, "no HTTP version in the start line")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
