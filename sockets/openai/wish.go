package openai

// Wish reads a request's body, as it comes, for whether it asks for an event stream: a JSON object whose own "stream" is
// true. It is for a caller that would begin to answer in the worker's place, so it says yes only where every reader must:
// the object is whole and valid (RFC 8259), nested no deeper than most are, and has that key exactly once. Of two the one
// reader takes the first, the other the last.
//
// A Wish is a plain value without pointers: a copy of it is a checkpoint. Its zero value has read nothing. Whatever its
// fields hold, reading ends.
type Wish struct {
	Read  int64  // bytes so far
	stack uint64 // bit k: the container at depth k+1 is an object
	depth uint8
	state wishState
	left  uint8 // of a literal: its letters to come; of \u: its digits
	word  uint8 // which literal
	match uint8 // how much of the key at depth 1 is as it should be; mismatch: it isn't
	char  uint16
	found bool // the key was there
	wants bool // and true was its value
}

type wishState uint8

const (
	wishStart      wishState = iota // before the object
	wishFirstKey                    // behind {: a key, or }
	wishKey                         // behind a comma in an object
	wishColon                       // behind a key
	wishFirstValue                  // behind [: a value, or ]
	wishValue                       // behind a colon, or a comma in an array
	wishAfter                       // behind a value
	wishInKey                       // in a string that is a key, and at its escapes
	wishKeyEscape
	wishKeyHex
	wishInString // in any other string
	wishEscape
	wishHex
	wishLiteral
	wishMinus // numbers: what was read last
	wishZero
	wishDigits
	wishPoint
	wishFraction
	wishE
	wishSign
	wishExponent
	wishEnd   // behind the object
	wishNever // it is none, or none that we would answer
)

const (
	deepest  = 64
	mismatch = 255
	wishName = "stream"
)

var literals = [...]string{"true", "false", "null"}

// Streams says whether what was read is a whole request for an event stream.
func (w *Wish) Streams() bool { return w.state == wishEnd && w.wants }

// Never says that it won't be one, whatever follows.
func (w *Wish) Never() bool { return w.state >= wishNever || w.found && !w.wants }

// Next reads on.
func (w *Wish) Next(b []byte) {
	w.Read += int64(len(b))
	for i := 0; i < len(b) && !w.Never(); i++ {
		if w.state == wishInString { // most of a body is text
			for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
				i++
			}
			if i == len(b) {
				return
			}
		}
		w.take(b[i])
	}
}

func (w *Wish) take(c byte) {
	switch {
	case w.state >= wishMinus && w.state <= wishExponent:
		w.number(c)
	case w.state >= wishInKey && w.state <= wishLiteral:
		w.inside(c)
	case isSpace(c):
	case w.state == wishStart && c == '{':
		w.open(true)
	case (w.state == wishFirstKey || w.state == wishKey) && c == '"':
		w.state, w.match = wishInKey, 0
	case w.state == wishFirstKey && c == '}', w.state == wishFirstValue && c == ']':
		w.close(c)
	case w.state == wishColon && c == ':':
		w.state = wishValue
		if w.depth == 1 && w.match == uint8(len(wishName)) {
			if w.found {
				w.state = wishNever
			}
			w.found = true
			w.wants = true // until its value begins
		}
	case w.state == wishValue || w.state == wishFirstValue:
		w.value(c)
	case w.state == wishAfter:
		w.after(c)
	default:
		w.state = wishNever
	}
}

// value begins a value.
func (w *Wish) value(c byte) {
	if w.depth == 1 && w.match == uint8(len(wishName)) {
		w.wants = c == 't'
	}
	switch {
	case c == '{':
		w.open(true)
	case c == '[':
		w.open(false)
	case c == '"':
		w.state = wishInString
	case c == '-':
		w.state = wishMinus
	case c == '0':
		w.state = wishZero
	case '1' <= c && c <= '9':
		w.state = wishDigits
	default:
		w.state = wishNever
		for i, text := range literals {
			if c == text[0] {
				w.state, w.word, w.left = wishLiteral, uint8(i), uint8(len(text)-1)
			}
		}
	}
}

func (w *Wish) open(object bool) {
	if w.depth >= deepest {
		w.state = wishNever
		return
	}
	bit := uint64(1) << w.depth
	w.stack &^= bit
	w.state = wishFirstValue
	if object {
		w.stack |= bit
		w.state = wishFirstKey
	}
	w.depth++
}

// inObject says what the innermost container is.
func (w *Wish) inObject() bool { return w.depth > 0 && w.stack&(1<<(w.depth-1)) != 0 }

func (w *Wish) close(c byte) {
	if w.depth == 0 || w.inObject() != (c == '}') {
		w.state = wishNever
		return
	}
	w.depth--
	w.state = wishAfter
	if w.depth == 0 {
		w.state = wishEnd
	}
}

// after is what may stand behind a value.
func (w *Wish) after(c byte) {
	switch {
	case c == '}' || c == ']':
		w.close(c)
	case c == ',' && w.inObject():
		w.state = wishKey
	case c == ',' && w.depth > 0:
		w.state, w.match = wishValue, mismatch
	default:
		w.state = wishNever
	}
}

// inside reads strings and literals.
func (w *Wish) inside(c byte) {
	key := w.state <= wishKeyHex
	switch w.state {
	case wishLiteral:
		w.literal(c)
	case wishKeyEscape, wishEscape:
		w.escape(c)
	case wishKeyHex, wishHex:
		w.hex(c, key)
	default: // in the string
		switch {
		case c < ' ':
			w.state = wishNever
		case c == '\\':
			w.state++ // to its escape
		case c == '"' && key:
			w.state = wishColon
		case c == '"':
			w.state = wishAfter
		case key:
			w.letter(uint16(c))
		}
	}
}

// letter compares the next letter of a key.
func (w *Wish) letter(c uint16) {
	if int(w.match) < len(wishName) && c == uint16(wishName[w.match]) {
		w.match++
	} else {
		w.match = mismatch
	}
}

func (w *Wish) literal(c byte) {
	if int(w.word) >= len(literals) || w.left == 0 || int(w.left) >= len(literals[w.word]) {
		w.state = wishNever
		return
	}
	text := literals[w.word]
	switch {
	case c != text[len(text)-int(w.left)]:
		w.state = wishNever
	case w.left == 1:
		w.state = wishAfter
	default:
		w.left--
	}
}

func (w *Wish) escape(c byte) {
	switch c {
	case 'u':
		w.state++ // to its digits
		w.left, w.char = 4, 0
		return
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't': // none is a letter of the name
		w.letter(mismatch)
		w.state--
	default:
		w.state = wishNever
	}
}

func (w *Wish) hex(c byte, key bool) {
	digit := uint16(0)
	switch {
	case '0' <= c && c <= '9':
		digit = uint16(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		digit = uint16(c|0x20-'a') + 10
	default:
		w.state = wishNever
		return
	}
	w.char = w.char<<4 | digit
	if w.left--; w.left == 0 || w.left > 3 {
		w.state -= 2 // back in the string
		if key {
			w.letter(w.char)
		}
	}
}

// number reads a number; what can't be a part of it comes after it.
func (w *Wish) number(c byte) {
	digit, was := '0' <= c && c <= '9', w.state
	switch {
	case was == wishMinus && c == '0':
		w.state = wishZero
	case was == wishMinus && digit:
		w.state = wishDigits
	case was == wishPoint && digit:
		w.state = wishFraction
	case (was == wishE || was == wishSign) && digit:
		w.state = wishExponent
	case was == wishE && (c == '+' || c == '-'):
		w.state = wishSign
	case was == wishMinus || was == wishPoint || was == wishE || was == wishSign: // a digit is missing
		w.state = wishNever
	case digit && was != wishZero:
	case c == '.' && (was == wishZero || was == wishDigits):
		w.state = wishPoint
	case c|0x20 == 'e' && was != wishExponent:
		w.state = wishE
	default:
		w.state = wishAfter
		if !isSpace(c) {
			w.after(c)
		}
	}
}
