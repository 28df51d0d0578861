package http1

import (
	"bytes"
	"math"
)

// field is a field line's meaning to us.
type field uint8

const (
	fieldOther field = iota
	fieldHost
	fieldContentLength
	fieldTransferEncoding
	fieldTrailer
	fieldConnection
	fieldKeepAlive
	fieldProxyConnection
	fieldTE
	fieldUpgrade
	fieldExpect
	fieldOrigin
	fieldRequestID
	fieldContentType
	fieldContentEncoding
	fieldContentRange
	fieldCredentials // any field that carries or asks for authentication
	fieldForwardedForX
	fieldForwarded
	fieldForgedOrigin // X-Forwarded-For spelt with '_'
	fieldForged       // a framing field spelt with '_', which CGI and WSGI turn into the real one
)

// Rules for where a field may be named or stand, beside the head.
const (
	notNamed   = 1 << iota // a Connection or Trailer field may not name it: without it, or only after the body, the message has another meaning
	notTrailer             // it may not stand in trailers: it was needed before the body, or is for one connection only
)

var fieldRules = [...]uint8{
	fieldOther:            0,
	fieldHost:             notNamed | notTrailer,
	fieldContentLength:    notNamed | notTrailer,
	fieldTransferEncoding: notNamed | notTrailer,
	fieldTrailer:          notNamed | notTrailer,
	fieldConnection:       notTrailer,
	fieldKeepAlive:        notTrailer,
	fieldProxyConnection:  notTrailer,
	fieldTE:               notTrailer,
	fieldUpgrade:          notTrailer,
	fieldExpect:           notTrailer,
	fieldOrigin:           notNamed | notTrailer,
	fieldRequestID:        0,
	fieldContentType:      notNamed | notTrailer,
	fieldContentEncoding:  notNamed | notTrailer,
	fieldContentRange:     notNamed | notTrailer,
	fieldCredentials:      notNamed | notTrailer,
	fieldForwardedForX:    notNamed | notTrailer,
	fieldForwarded:        notNamed | notTrailer,
	fieldForgedOrigin:     notNamed | notTrailer,
	fieldForged:           notNamed | notTrailer,
}

// knownFields are the names that mean something to us, by length and in lower case.
var knownFields = [20][]struct {
	name string
	field
}{
	2:  {{"te", fieldTE}},
	4:  {{"host", fieldHost}},
	6:  {{"expect", fieldExpect}, {"cookie", fieldCredentials}, {"origin", fieldOrigin}},
	7:  {{"trailer", fieldTrailer}, {"upgrade", fieldUpgrade}},
	9:  {{"forwarded", fieldForwarded}},
	10: {{"connection", fieldConnection}, {"keep-alive", fieldKeepAlive}, {"set-cookie", fieldCredentials}},
	12: {{"content-type", fieldContentType}, {"x-request-id", fieldRequestID}},
	13: {{"authorization", fieldCredentials}, {"content-range", fieldContentRange}},
	14: {{"content-length", fieldContentLength}, {"content_length", fieldForged}},
	15: {{"x-forwarded-for", fieldForwardedForX}, {"x_forwarded_for", fieldForgedOrigin}, {"x-forwarded_for", fieldForgedOrigin}, {"x_forwarded-for", fieldForgedOrigin}},
	16: {{"content-encoding", fieldContentEncoding}, {"www-authenticate", fieldCredentials}, {"proxy-connection", fieldProxyConnection}},
	17: {{"transfer-encoding", fieldTransferEncoding}, {"transfer_encoding", fieldForged}},
	18: {{"proxy-authenticate", fieldCredentials}},
	19: {{"proxy-authorization", fieldCredentials}},
}

func fieldOf(name []byte) field {
	if len(name) < len(knownFields) {
		for _, known := range knownFields[len(name)] {
			if isFold(name, known.name) {
				return known.field
			}
		}
	}
	return fieldOther
}

// fieldLine is one field line of a head.
type fieldLine struct {
	field
	name, value Span // value without the white space around it
	next        int  // where the next line begins
}

// fieldLineAt reads the field line that begins at b[at]. The line is known to end with CRLF and to have no other control byte than tabs.
func fieldLineAt(b []byte, at int) (l fieldLine, bad *Malformed) {
	l.next = at + bytes.IndexByte(b[at:], '\n') + 1
	end := l.next - len("\r\n")
	colon := at
	for isToken[b[colon]] {
		colon++
	}
	switch {
	case b[colon] == ':' && colon > at:
	case colon == at && isSpace(b[at]):
		return l, refuse(400, "folded field line")
	case isSpace(b[colon]):
		return l, refuse(400, "white space in or after a field name")
	default:
		return l, refuse(400, "field line without a valid name")
	}
	from := colon + 1
	for from < end && isSpace(b[from]) {
		from++
	}
	for end > from && isSpace(b[end-1]) {
		end--
	}
	l.name = Span{int32(at), int32(colon)}
	l.value = Span{int32(from), int32(end)}
	l.field = fieldOf(b[at:colon])
	if l.field == fieldForged {
		return l, refuse(400, "framing field spelt with an underscore")
	}
	return l, nil
}

// cutElement splits the first element off a comma-separated list, without the white space around it. An element may be empty.
func cutElement(list []byte) (element, rest []byte) {
	element, rest, _ = bytes.Cut(list, comma)
	return bytes.Trim(element, " \t"), rest
}

var comma = []byte(",")

// isTokenName says whether b is a token (RFC 9110, 5.6.2).
func isTokenName(b []byte) bool {
	for _, c := range b {
		if !isToken[c] {
			return false
		}
	}
	return len(b) > 0
}

// isToken are the bytes of a token.
var isToken = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// isFold says whether a and b are the same but for the case of their ASCII letters.
func isFold[T string | []byte](a []byte, b T) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// parseLength reads the value of a Content-Length: digits only, so no sign, no list, no white space.
func parseLength(value []byte) (n int64, bad *Malformed) {
	if len(value) == 0 {
		return 0, refuse(400, "empty Content-Length")
	}
	for _, c := range value {
		if !isDigit(c) {
			return 0, refuse(400, "Content-Length isn't a number")
		}
		digit := int64(c - '0')
		if n > (math.MaxInt64-digit)/10 {
			return 0, refuse(400, "Content-Length is too large")
		}
		n = n*10 + digit
	}
	return n, nil
}
