package http1

import "bytes"

// Request is what a request's head says. It holds no pointer: its spans are ranges of the head that it was parsed from, which every later use needs again.
type Request struct {
	Method     Method
	MethodName Span
	// Target is what the worker gets as request target: the client's own in origin form (or * for OPTIONS, or host:port for CONNECT). Of an absolute form it is what follows the
	// authority, so it may be empty or begin with '?'.
	Target    Span
	Host      Span // always there and valid
	RequestID Span // the first X-Request-Id that is visible ASCII of 1 to [MaxRequestID] bytes; empty if there is none

	Minor          uint8   // of the HTTP version: 0 or 1
	Framing        Framing // none, length or chunked
	Length         int64   // with FramingLength
	KeepAlive      bool    // the client keeps its connection for another request
	ExpectContinue bool    // the client waits for a 100 (Continue) before it sends its body
	Upgrade        bool    // the client offers another protocol
	Origin         bool    // there is an Origin field: it came from a page in a browser

	authority Span // of an absolute-form target or of CONNECT
	marks     marks
}

// ParseRequest judges a whole head (see [FindHeadEnd]), its blank line included. CONNECT and upgrades are read like anything else: whether to refuse them is the caller's to say.
func ParseRequest(head []byte, r *Request) *Malformed {
	*r = Request{}
	first, bad := firstField(head)
	if bad != nil {
		return bad
	}
	if bad := r.parseLine(head[:first-len("\r\n")]); bad != nil {
		return bad
	}
	var f fields
	f.marks.first = int32(first)
	hosts, expects := 0, false
	for n, at := 0, first; head[at] != '\r'; n++ {
		if n == MaxFields {
			return refuse(431, "too many fields")
		}
		l, bad := fieldLineAt(head, at)
		if bad != nil {
			return bad
		}
		switch l.field {
		case fieldHost:
			hosts++
			r.Host = l.value
		case fieldExpect:
			if !isFold(l.value.Of(head), "100-continue") {
				return refuse(417, "expectation other than 100-continue")
			}
			expects = true
			f.marks.drop.add(n)
		case fieldOrigin:
			r.Origin = true
		default:
			if bad := f.take(head, n, l, r.Minor); bad != nil {
				return bad
			}
		}
		at = l.next
	}
	if bad := r.checkHost(head, hosts); bad != nil {
		return bad
	}
	f.dropNamed(head)
	r.RequestID = f.requestID
	r.Framing, r.Length = f.declared, f.length
	r.KeepAlive = f.persistent(r.Minor)
	r.Upgrade = f.upgrade
	// RFC 9110, 10.1.1: of no meaning in HTTP/1.0; and nobody waits who has no body to send.
	r.ExpectContinue = expects && r.Minor > 0 && r.Framing != FramingNone
	r.marks = f.marks
	return nil
}

// parseLine judges the request line, without its line end: method, target and version with one space between them.
func (r *Request) parseLine(line []byte) (bad *Malformed) {
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if first == last {
		return refuse(400, "request line isn't method, target and version")
	}
	// The version comes first: an HTTP/2 preface is a wrong version rather than a wrong method.
	if r.Minor, bad = versionMinor(line[last+1:]); bad != nil {
		return bad
	}
	if !isTokenName(line[:first]) {
		return refuse(400, "method isn't a token")
	}
	r.MethodName = Span{0, int32(first)}
	r.Method = methodOf(line[:first])
	return r.parseTarget(line, Span{int32(first + 1), int32(last)})
}

// checkHost wants exactly one valid Host, of HTTP/1.0 too, and no second opinion from the request target. (RFC 9112, 3.2.2 lets an absolute-form target overrule Host; a client that means
// one host and names another is refused instead.)
func (r *Request) checkHost(head []byte, hosts int) *Malformed {
	switch {
	case hosts == 0:
		return refuse(400, "no Host field")
	case hosts > 1:
		return refuse(400, "more than one Host field")
	case !isHost(r.Host.Of(head)):
		return refuse(400, "Host isn't a valid host")
	case r.authority != Span{} && !isFold(r.authority.Of(head), r.Host.Of(head)):
		return refuse(400, "request target and Host differ")
	}
	return nil
}
