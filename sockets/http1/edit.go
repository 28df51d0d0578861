package http1

import (
	"bytes"
	"strconv"
)

// RequestEdit is what the caller decides about a request's way to the worker.
type RequestEdit struct {
	RequestID []byte // sent as X-Request-Id, in place of the client's; empty: none is sent
	Origin    Origin
	KeepAlive bool // the worker's connection may go on after this request
}

// AppendRequest appends to dst the head as the worker gets it: HTTP/1.1, the target in origin form, what is between the client and us taken out (Connection and the fields it names,
// Keep-Alive, Proxy-Connection, TE, Upgrade, Expect), the framing field with our reading of its value, one X-Request-Id, where it comes from (see [Origin]), and Connection: close unless e says otherwise. Host and all else stay as they came, in
// their order. So do Authorization and Proxy-Authorization: RFC 9110, 11.7.2 leaves the latter to the proxy that asked for it, and that isn't us.
//
// r is what [ParseRequest] made of head.
func AppendRequest(dst, head []byte, r *Request, e RequestEdit) []byte {
	target := r.Target.Of(head)
	dst = append(dst, r.MethodName.Of(head)...)
	dst = append(dst, ' ')
	switch {
	case len(target) == 0 && r.Method == MethodOptions:
		dst = append(dst, '*') // RFC 9112, 3.2.4
	case len(target) == 0 || target[0] == '?':
		dst = append(dst, '/')
	}
	dst = append(dst, target...)
	dst = append(dst, " HTTP/1.1\r\n"...)
	dst = appendFields(dst, head, &r.marks, sent{declared: r.Framing, framing: r.Framing, length: r.Length, requestID: e.RequestID, origin: e.Origin})
	if !e.KeepAlive {
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// ResponseEdit is what the caller decides about an answer's way to the client.
type ResponseEdit struct {
	RequestID   []byte  // sent as X-Request-Id, in place of the worker's; empty: none is sent
	Framing     Framing // what [FramingOut] says
	Length      int64   // with FramingLength
	Close       bool    // the connection ends after this answer; FramingClose means it anyway
	ClientMinor uint8   // the minor version of the client's request
}

// AppendResponse appends to dst the head as the client gets it: always HTTP/1.1 (RFC 9110, 2.5: our own version), what is between the worker and us taken out, framed as e says, and with
// the Connection field that the client's version calls for. All else stays as it came, in its order. An answer to HEAD and a 304 keep the framing field of the body they stand for.
//
// r is what [ParseResponse] made of head. An informational answer (1xx) is not for a client of HTTP/1.0, and never has Close set.
func AppendResponse(dst, head []byte, r *Response, e ResponseEdit) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, r.Reason.Of(head)...)
	dst = append(dst, "\r\n"...)
	s := sent{declared: r.declared, framing: e.Framing, length: e.Length, requestID: e.RequestID}
	if e.Framing == FramingNone && r.Status >= 200 && r.Status != 204 && (r.declared == FramingLength || e.ClientMinor > 0) {
		s.framing, s.length = r.declared, r.Length
	}
	dst = appendFields(dst, head, &r.marks, s)
	switch {
	case e.Close || e.Framing == FramingClose:
		dst = append(dst, "Connection: close\r\n"...)
	case e.ClientMinor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// FramingOut says how an answer's body is framed for its client: by the client's version, and by what the worker sent. A client of HTTP/1.0 knows no chunks. An event stream that can be
// read gets frames of ours put in, so a length wouldn't hold.
func FramingOut(clientMinor uint8, method Method, r *Response) Framing {
	if method == MethodHead {
		return FramingNone
	}
	in := r.Framing
	if in == FramingLength && r.EventStream && !r.Encoded {
		in = FramingClose
	}
	return framingOut[min(clientMinor, 1)][in]
}

// framingOut is indexed by the client's minor version and the framing that comes in.
var framingOut = [2][4]Framing{
	0: {FramingNone: FramingNone, FramingLength: FramingLength, FramingChunked: FramingClose, FramingClose: FramingClose},
	1: {FramingNone: FramingNone, FramingLength: FramingLength, FramingChunked: FramingChunked, FramingClose: FramingChunked},
}

// sent is what field lines go out with.
type sent struct {
	declared  Framing // by the framing line that came
	framing   Framing // to be declared
	length    int64
	requestID []byte
	origin    Origin
}

// appendFields appends the field lines of head that are sent on. A framing line and an X-Request-Id keep their place and their name and get our value; where there was none to keep they
// come last.
func appendFields(dst, head []byte, m *marks, s sent) []byte {
	framed, identified := s.framing == FramingNone || s.framing == FramingClose, len(s.requestID) == 0
	drop, grow := s.origin.edit(&m.told)
	drop = drop.with(m.drop)
	from, at := int(m.first), int(m.first) // head[from:at] is to be copied as it is
	for n := 0; head[at] != '\r'; n++ {
		next := at + bytes.IndexByte(head[at:], '\n') + 1
		isFraming, isID := n+1 == int(m.framing), n+1 == int(m.requestID)
		grows := n+1 == grow && s.origin.tell()
		if isFraming || isID || grows || drop.has(n) || s.framing != FramingChunked && m.trailer.has(n) {
			dst = append(dst, head[from:at]...)
			from = next
		}
		switch {
		case isFraming && !framed && s.framing == s.declared:
			dst = appendFraming(appendName(dst, head[at:]), s)
			framed = true
		case isID && !identified:
			dst = appendLine(appendName(dst, head[at:]), s.requestID)
			identified = true
		case grows:
			dst = s.origin.appendToLine(dst, head, at)
		}
		at = next
	}
	dst = append(dst, head[from:at]...)
	if !framed && s.framing == FramingLength {
		dst = appendFraming(append(dst, "Content-Length: "...), s)
	}
	if !framed && s.framing == FramingChunked {
		dst = appendFraming(append(dst, "Transfer-Encoding: "...), s)
	}
	if !identified {
		dst = appendLine(append(dst, "X-Request-Id: "...), s.requestID)
	}
	if grow == 0 && s.origin.tell() {
		dst = s.origin.appendOwnLine(dst)
	}
	return dst
}

// appendName appends the name of a field line as its sender spells it, and what comes before the value.
func appendName(dst, line []byte) []byte {
	dst = append(dst, line[:bytes.IndexByte(line, ':')]...)
	return append(dst, ": "...)
}

// appendFraming appends the value of a framing field and the end of its line.
func appendFraming(dst []byte, s sent) []byte {
	if s.framing == FramingChunked {
		return append(dst, "chunked\r\n"...)
	}
	return append(strconv.AppendInt(dst, s.length, 10), "\r\n"...)
}

func appendLine(dst, value []byte) []byte {
	return append(append(dst, value...), "\r\n"...)
}
