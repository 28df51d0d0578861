// Package http1 reads HTTP/1.x as a guard does: it lets through what can be understood in one way only, and refuses the rest.
//
// It has three parts. A head (start line and field lines) is found by [FindHeadEnd], judged by [ParseRequest] or [ParseResponse], and sent on by [AppendRequest] or
// [AppendResponse]: the sender's own lines in the sender's own order and case, except for the few that belong to one connection only. How an answer's body is framed for its
// client is one small table, [FramingOut]. A body is followed by [Body], a few bytes that know where in the framing we are and that can be copied at any byte and gone on from.
//
// Everything here is pure: bytes in, a judgement or bytes out. There is no I/O, no clock and, unless something is refused, no allocation. Heads from clients are taken as hostile
// and heads from workers as untrusted: what a lenient parser mends (a bare line feed, a folded line, two lengths) is what smuggling is made of, so nothing is mended here.
//
// The rules are those of RFC 9110 (fields), RFC 9112 (HTTP/1.1) and RFC 3986 (hosts and targets); where we are stricter, the place says why.
package http1

const (
	// MaxHead is the most bytes a head may have, its blank line included. With [MaxGrowth] it stays below the 64 KiB of an area of the arena.
	MaxHead = 60 << 10
	// MaxFields is the most field lines that a head, or the trailers of a body, may have.
	MaxFields = 128
	// MaxTrailers is the most bytes that the trailers of a body may have, line ends included.
	MaxTrailers = 16 << 10
	// MaxRequestID is the most bytes of an X-Request-Id that is taken from a client.
	MaxRequestID = 128
	// MaxGrowth is the most bytes by which an edited head can exceed the head that it was made from, if the request id has at most [MaxRequestID] bytes.
	MaxGrowth = 256
)

// Span is the half-open range [From, To) of bytes in a head.
type Span struct{ From, To int32 }

// Of returns the bytes of head that s covers.
func (s Span) Of(head []byte) []byte { return head[s.From:s.To] }

// Len returns the number of bytes that s covers.
func (s Span) Len() int { return int(s.To - s.From) }

// Malformed says why a message is refused. It is an error, but functions return it as *Malformed so that its status is at hand: assign it to an error only when it isn't nil.
type Malformed struct {
	Status int    // what to answer: 400, 417 (an expectation that nobody here meets), 431, 501 (transfer coding) or 505; 502 where an answer was judged
	Reason string // one line for people, without any byte of the message
}

func (m *Malformed) Error() string { return "malformed HTTP message: " + m.Reason }

func refuse(status int, reason string) *Malformed { return &Malformed{Status: status, Reason: reason} }

// Framing is how the end of a body is known.
type Framing uint8

const (
	FramingNone    Framing = iota // there is no body
	FramingLength                 // Content-Length
	FramingChunked                // Transfer-Encoding: chunked
	FramingClose                  // until the sender closes; answers only
)

func (f Framing) String() string {
	return [...]string{"none", "length", "chunked", "close"}[f]
}

// Method is a request's method, as far as anybody here decides by it; the name itself is [Request.MethodName].
type Method uint8

const (
	MethodOther Method = iota
	MethodGet
	MethodHead
	MethodPost
	MethodPut
	MethodPatch
	MethodDelete
	MethodOptions
	MethodTrace
	MethodConnect
)

func methodOf(name []byte) Method {
	switch string(name) { // methods are case-sensitive
	case "GET":
		return MethodGet
	case "HEAD":
		return MethodHead
	case "POST":
		return MethodPost
	case "PUT":
		return MethodPut
	case "PATCH":
		return MethodPatch
	case "DELETE":
		return MethodDelete
	case "OPTIONS":
		return MethodOptions
	case "TRACE":
		return MethodTrace
	case "CONNECT":
		return MethodConnect
	}
	return MethodOther
}
