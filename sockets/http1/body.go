package http1

import (
	"math"
	"strconv"
)

const (
	maxSizeDigits = 16      // of a chunk size: all that an int64 could need
	maxExtension  = 256     // bytes of chunk extensions on one line
	maxWaste      = 8 << 10 // bytes of chunk extensions that no payload outweighs, see Body.waste
)

// LastChunk ends the chunks of a body. Trailers, if any, and an empty line (CRLF) follow.
const LastChunk = "0\r\n"

// AppendChunkSize appends the line that begins a chunk of n > 0 bytes. The caller adds the payload and CRLF.
func AppendChunkSize(dst []byte, n int) []byte {
	return append(strconv.AppendInt(dst, int64(n), 16), "\r\n"...)
}

// Body follows the framing of one body. It has no pointer and a few bytes, and what it knows depends only on the bytes that it was given, not on how they were cut: a copy of it is a
// checkpoint to go on from. The zero value is a body that has ended.
type Body struct {
	left     int64  // payload bytes to come, of the length or of this chunk; while a chunk-size line is read, the size so far
	waste    uint16 // bytes of chunk extensions, less two for each byte of payload: chunks that are mostly extensions are an attack
	trailers uint16 // bytes of trailers
	ext      uint16 // bytes of chunk extensions on this line
	digits   uint8  // of this chunk size
	fields   uint8  // trailer fields
	step     bodyStep
}

// bodyStep is what comes next in a body.
type bodyStep uint8

const (
	stepEnd       bodyStep = iota // nothing: the body has ended
	stepLength                    // payload of a known length
	stepToClose                   // payload until the peer closes
	stepSize                      // a chunk size's digits, then ';' or CR
	stepExtension                 // a chunk extension's bytes, then CR
	stepSizeEnd                   // the LF of a chunk-size line
	stepChunk                     // a chunk's payload
	stepChunkCR                   // the CR after it
	stepChunkLF                   // the LF after it
	stepTrailer                   // a trailer line, or the empty line that is the end
	stepMalformed                 // nothing: what came can't be a body
)

// NewBody returns the state before the first byte of a body. length, which may not be negative, counts with FramingLength only.
func NewBody(f Framing, length int64) Body {
	switch f {
	case FramingLength:
		if length > 0 {
			return Body{step: stepLength, left: length}
		}
	case FramingChunked:
		return Body{step: stepSize}
	case FramingClose:
		return Body{step: stepToClose}
	case FramingNone:
	}
	return Body{}
}

// Left is how much payload is known to come next: of the length, or of this chunk.
func (b *Body) Left() int64 {
	if b.step == stepLength || b.step == stepChunk {
		return b.left
	}
	return 0
}

// AtClose says that the body ends where the peer closes, so that a close is its clean end.
func (b *Body) AtClose() bool { return b.step == stepToClose }

// Ended says that the whole body was seen. A close is a cut unless Ended or [Body.AtClose].
func (b *Body) Ended() bool { return b.step == stepEnd }

// PieceKind says what [Body.Next] found.
type PieceKind uint8

const (
	More    PieceKind = iota // nothing yet: the rest of the input, if any, is an unfinished trailer line that is judged again when more has come
	Data                     // payload
	Trailer                  // one field line after the body, its CRLF included
	End                      // the end of the body; what follows is another message
)

func (k PieceKind) String() string { return [...]string{"more", "data", "trailer", "end"}[k] }

// Piece is a part of a body; From and To are where its bytes are in the input of [Body.Next].
type Piece struct {
	Kind     PieceKind
	From, To int
}

// Next judges the first bytes of in, which are those not judged yet, and says how many it used and what it found. Call it again with in[used:] until it says [More] or [End], also when
// nothing is left: the end may be known without another byte. Payload comes in pieces that are as long as the input and the chunk allow.
//
// Chunks are read strictly: a size is 1 to 16 hexadecimal digits, extensions are dropped and bounded, lines end with CRLF, and no trailer frames, routes, authenticates or describes the
// body. What is malformed stays so. Status is 400; where the body came from a worker it is too late for a status, and the stream is to be cut.
func (b *Body) Next(in []byte) (used int, p Piece, bad *Malformed) {
	for {
		switch {
		case b.step == stepEnd:
			return used, Piece{Kind: End, From: used, To: used}, nil
		case b.step == stepMalformed:
			return used, Piece{}, refuse(400, "body was malformed before")
		case used == len(in):
			return used, Piece{Kind: More, From: used, To: used}, nil
		}
		switch b.step {
		case stepLength, stepToClose, stepChunk:
			to := used + b.payload(len(in)-used)
			return to, Piece{Kind: Data, From: used, To: to}, nil
		case stepTrailer:
			var n int
			if n, bad = b.trailerLine(in[used:]); bad != nil {
				break
			}
			p = Piece{Kind: Trailer, From: used, To: used + n}
			switch {
			case n == 0:
				return used, Piece{Kind: More, From: used, To: used}, nil
			case b.step == stepTrailer:
				return p.To, p, nil
			}
			used = p.To
		default:
			bad = b.chunkByte(in[used])
			used++
		}
		if bad != nil {
			*b = Body{step: stepMalformed}
			return used, Piece{}, bad
		}
	}
}

// payload takes up to n bytes of payload and returns how many.
func (b *Body) payload(n int) int {
	if b.step == stepToClose {
		return n
	}
	n = int(min(int64(n), b.left))
	b.left -= int64(n)
	if b.left == 0 {
		if b.step == stepLength {
			b.step = stepEnd
		} else {
			b.step = stepChunkCR
		}
	}
	return n
}

// chunkByte takes one byte of what is around the payload of chunks.
func (b *Body) chunkByte(c byte) *Malformed {
	switch b.step {
	case stepSize:
		return b.sizeByte(c)
	case stepExtension:
		switch {
		case c == '\r':
			b.step = stepSizeEnd
		case isControl(c):
			return refuse(400, "in a chunk extension: "+controlReason(c))
		default:
			if b.ext++; b.ext > maxExtension {
				return refuse(400, "chunk extension is too long")
			}
		}
	case stepSizeEnd:
		if c != '\n' {
			return refuse(400, "in a chunk size: bare carriage return")
		}
		return b.beginChunk()
	case stepChunkCR:
		if c != '\r' {
			return refuse(400, "chunk is longer than its size")
		}
		b.step = stepChunkLF
	case stepChunkLF:
		if c != '\n' {
			return refuse(400, "after a chunk: bare carriage return")
		}
		b.step = stepSize
	default:
	}
	return nil
}

// sizeByte takes one byte of a chunk size.
func (b *Body) sizeByte(c byte) *Malformed {
	var digit byte
	switch {
	case isDigit(c):
		digit = c - '0'
	case isHex(c):
		digit = lower(c) - 'a' + 10
	case b.digits == 0:
		return refuse(400, "chunk size doesn't begin with a digit")
	case c == ';':
		b.step = stepExtension
		b.ext = 1
		return nil
	case c == '\r':
		b.step = stepSizeEnd
		return nil
	default:
		return refuse(400, "chunk size isn't a number")
	}
	if b.digits++; b.digits > maxSizeDigits || b.left > math.MaxInt64>>4 {
		return refuse(400, "chunk size is too large")
	}
	b.left = b.left<<4 | int64(digit)
	return nil
}

// beginChunk ends a chunk-size line.
func (b *Body) beginChunk() *Malformed {
	waste := int(b.waste) + int(b.ext)
	if waste > maxWaste {
		return refuse(400, "chunks are mostly extensions")
	}
	b.waste = uint16(waste - int(min(int64(waste), 2*min(b.left, maxWaste))))
	b.ext, b.digits = 0, 0
	b.step = stepChunk
	if b.left == 0 {
		b.step = stepTrailer
	}
	return nil
}

// trailerLine takes one whole line after the last chunk and returns its length, 0 if it isn't whole. The empty line ends the body.
func (b *Body) trailerLine(in []byte) (n int, bad *Malformed) {
	end := controlIn(in)
	if int(b.trailers)+end+len("\r\n") > MaxTrailers {
		return 0, refuse(400, "trailers are too long")
	}
	switch {
	case end == len(in), end == len(in)-1 && in[end] == '\r':
		return 0, nil
	case in[end] != '\r' || in[end+1] != '\n':
		return 0, refuse(400, "in a trailer: "+controlReason(in[end]))
	case end == 0:
		*b = Body{step: stepEnd}
		return len("\r\n"), nil
	}
	l, bad := fieldLineAt(in[:end+len("\r\n")], 0)
	switch {
	case bad != nil:
		return 0, bad
	case fieldRules[l.field]&notTrailer != 0:
		return 0, refuse(400, "field that may not come after the body")
	case b.fields == MaxFields:
		return 0, refuse(400, "too many trailers")
	}
	b.fields++
	b.trailers += uint16(l.next)
	return l.next, nil
}
