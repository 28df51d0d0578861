package http1

import "bytes"

// Response is what an answer's head says. It holds no pointer: its spans are ranges of the head that it was parsed from.
type Response struct {
	Status      int  // 100 to 599
	Reason      Span // the reason phrase, often empty
	Minor       uint8
	Framing     Framing
	Length      int64 // the Content-Length, also where Framing is none because the answer is to HEAD or a 304
	KeepAlive   bool  // the worker keeps its connection after this answer
	EventStream bool  // text/event-stream, said by one Content-Type
	Encoded     bool  // a content coding other than identity: the body can't be read by us

	declared Framing // what the framing field says, even if there is no body
	marks    marks
}

// ParseResponse judges the whole head of an answer to a request with the given method. Status of what it refuses is always 502.
//
// An informational answer (1xx) has no body and is followed by another head. 101 is refused: it can only answer an upgrade, and [AppendRequest] sends none.
func ParseResponse(head []byte, method Method, r *Response) *Malformed {
	*r = Response{}
	if bad := r.parse(head, method); bad != nil {
		return refuse(502, bad.Reason)
	}
	return nil
}

func (r *Response) parse(head []byte, method Method) *Malformed {
	first, bad := firstField(head)
	if bad != nil {
		return bad
	}
	if bad := r.parseLine(head[:first-len("\r\n")]); bad != nil {
		return bad
	}
	var f fields
	f.marks.first = int32(first)
	for n, at := 0, first; head[at] != '\r'; n++ {
		if n == MaxFields {
			return refuse(431, "too many fields")
		}
		l, bad := fieldLineAt(head, at)
		if bad != nil {
			return bad
		}
		if bad := f.take(head, n, l, r.Minor); bad != nil {
			return bad
		}
		at = l.next
	}
	f.dropNamed(head)
	r.declared, r.Length = f.declared, f.length
	r.KeepAlive = f.persistent(r.Minor)
	r.EventStream = f.contentTypes == 1 && isEventStream(f.contentType.Of(head))
	r.Encoded = f.encoded
	r.marks = f.marks
	return r.frame(method)
}

// parseLine judges the status line, without its line end.
func (r *Response) parseLine(line []byte) (bad *Malformed) {
	const code, reason = len("HTTP/1.1 "), len("HTTP/1.1 200 ")
	if len(line) < reason-1 || line[code-1] != ' ' {
		return refuse(400, "no status line")
	}
	if r.Minor, bad = versionMinor(line[:code-1]); bad != nil {
		return bad
	}
	for _, c := range line[code : reason-1] {
		if !isDigit(c) {
			return refuse(400, "status code isn't a number")
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || r.Status > 599 {
		return refuse(400, "status code out of range")
	}
	r.Reason = Span{int32(len(line)), int32(len(line))}
	if len(line) >= reason { // the space before an empty reason is often forgotten
		if line[reason-1] != ' ' {
			return refuse(400, "status code isn't three digits")
		}
		r.Reason.From = int32(reason)
	}
	return nil
}

// frame decides how the body ends (RFC 9112, 6.3).
func (r *Response) frame(method Method) *Malformed {
	switch {
	case r.Status == 101:
		return refuse(400, "switches protocols though nobody asked")
	case r.Status < 200 || r.Status == 204:
		// RFC 9110, 8.6 and RFC 9112, 6.1 allow neither field here. A length of nothing is common and harmless; anything else promises a body that would be taken for the next answer.
		if r.declared == FramingChunked || r.Length > 0 {
			return refuse(400, "body announced in an answer that can't have one")
		}
	case r.Status == 304 || method == MethodHead:
	case r.declared == FramingNone:
		r.Framing = FramingClose
		r.KeepAlive = false
	default:
		r.Framing = r.declared
	}
	return nil
}

// isEventStream says whether a Content-Type is text/event-stream, with whatever parameters.
func isEventStream(contentType []byte) bool {
	mediaType, _, _ := bytes.Cut(contentType, semicolon)
	return isFold(bytes.TrimRight(mediaType, " \t"), "text/event-stream")
}

var semicolon = []byte(";")
