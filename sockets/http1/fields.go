package http1

// maxOptions bounds the connection options of a head: each unusual one costs a walk over its lines.
const maxOptions = 16

// fields gathers what requests and answers have in common: the framing that a head declares, what it says about its connection, and the lines that an edit has to know.
type fields struct {
	declared     Framing // none, length or chunked
	length       int64
	close        bool // Connection: close
	keepAlive    bool // Connection: keep-alive
	upgrade      bool // there is an Upgrade field
	options      int  // connection options seen
	namesFields  bool // a connection option names a field that isn't dropped anyway
	requestID    Span // the first that is fit to be used and logged
	contentTypes int
	contentType  Span
	encoded      bool // a content coding other than identity
	marks        marks
}

// marks says what an edit does with the field lines of a head. A line is known by its number, from 0.
type marks struct {
	first     int32   // where the first field line begins
	drop      lineSet // not sent on
	trailer   lineSet // Trailer fields: sent on with a chunked body only
	framing   uint8   // number of the framing line + 1; 0 = none
	requestID uint8   // number of the first X-Request-Id line + 1; 0 = none
	told      told
}

// lineSet is a set of line numbers.
type lineSet [MaxFields / 64]uint64

func (s *lineSet) add(n int)      { s[n/64] |= 1 << (n % 64) }
func (s *lineSet) has(n int) bool { return s[n/64]&(1<<(n%64)) != 0 }

// take judges line number n of head.
func (f *fields) take(head []byte, n int, l fieldLine, minor uint8) *Malformed {
	value := l.value.Of(head)
	switch l.field {
	case fieldContentLength, fieldTransferEncoding:
		f.marks.framing = uint8(n + 1)
		return f.takeFraming(l.field, value, minor)
	case fieldConnection:
		f.marks.drop.add(n)
		return f.takeOptions(value)
	case fieldKeepAlive, fieldProxyConnection, fieldTE:
		f.marks.drop.add(n)
	case fieldUpgrade:
		f.upgrade = true
		f.marks.drop.add(n)
	case fieldTrailer:
		f.marks.trailer.add(n)
		return takeTrailerNames(value)
	case fieldRequestID:
		if f.marks.requestID == 0 {
			f.marks.requestID = uint8(n + 1)
		} else {
			f.marks.drop.add(n)
		}
		if f.requestID.Len() == 0 && fitRequestID(value) {
			f.requestID = l.value
		}
	case fieldForwardedForX:
		f.marks.told.take(ForwardedForX, n, value)
	case fieldForwarded:
		f.marks.told.take(ForwardedRFC, n, value)
	case fieldForgedOrigin:
		f.marks.told.forged.add(n)
	case fieldContentType:
		f.contentTypes++
		f.contentType = l.value
	case fieldContentEncoding:
		for rest := value; len(rest) > 0; {
			var coding []byte
			coding, rest = cutElement(rest)
			f.encoded = f.encoded || len(coding) > 0 && !isFold(coding, "identity")
		}
	default:
	}
	return nil
}

// takeFraming allows one framing field in a head. A second one, even if it says the same, is how two readers come to disagree about where a body ends.
func (f *fields) takeFraming(field field, value []byte, minor uint8) (bad *Malformed) {
	switch {
	case f.declared == FramingLength && field == fieldContentLength:
		return refuse(400, "two Content-Length fields")
	case f.declared == FramingChunked && field == fieldTransferEncoding:
		return refuse(400, "two Transfer-Encoding fields")
	case f.declared != FramingNone:
		return refuse(400, "both Content-Length and Transfer-Encoding")
	case field == fieldContentLength:
		f.declared = FramingLength
		f.length, bad = parseLength(value)
		return bad
	case minor == 0:
		return refuse(400, "Transfer-Encoding in HTTP/1.0")
	case !isFold(value, "chunked"):
		return refuse(501, "transfer coding other than chunked")
	}
	f.declared = FramingChunked
	return nil
}

// takeOptions judges the value of a Connection field.
func (f *fields) takeOptions(value []byte) *Malformed {
	for rest := value; len(rest) > 0; {
		var option []byte
		option, rest = cutElement(rest)
		if len(option) == 0 {
			continue // RFC 9110, 5.6.1: empty elements are to be ignored
		}
		if f.options++; f.options > maxOptions {
			return refuse(400, "too many connection options")
		}
		switch {
		case !isTokenName(option):
			return refuse(400, "connection option isn't a token")
		case isFold(option, "close"):
			f.close = true
		case isFold(option, "keep-alive"):
			f.keepAlive = true
		case fieldRules[fieldOf(option)]&notNamed != 0:
			return refuse(400, "Connection names a field that isn't for one connection only")
		default:
			f.namesFields = true
		}
	}
	return nil
}

// dropNamed drops the lines whose field a connection option names (RFC 9110, 7.6.1). It is a walk over all lines for each such option, rare and bounded.
func (f *fields) dropNamed(head []byte) {
	if !f.namesFields {
		return
	}
	for at := int(f.marks.first); head[at] != '\r'; {
		l, _ := fieldLineAt(head, at)
		at = l.next
		if l.field != fieldConnection {
			continue
		}
		for rest := l.value.Of(head); len(rest) > 0; {
			var option []byte
			option, rest = cutElement(rest)
			f.dropField(head, option)
		}
	}
}

// dropField drops the lines of one field.
func (f *fields) dropField(head, name []byte) {
	for n, at := 0, int(f.marks.first); head[at] != '\r'; n++ {
		l, _ := fieldLineAt(head, at)
		at = l.next
		if isFold(l.name.Of(head), name) {
			f.marks.drop.add(n)
		}
	}
}

// persistent says whether the sender keeps its connection after this message.
func (f *fields) persistent(minor uint8) bool {
	return !f.close && (minor > 0 || f.keepAlive)
}

// takeTrailerNames judges the value of a Trailer field: it may not promise what trailers may not hold.
func takeTrailerNames(value []byte) *Malformed {
	for rest := value; len(rest) > 0; {
		var name []byte
		name, rest = cutElement(rest)
		switch {
		case len(name) == 0:
		case !isTokenName(name):
			return refuse(400, "Trailer names something that isn't a field")
		case fieldRules[fieldOf(name)]&notTrailer != 0:
			return refuse(400, "Trailer names a field that may not come after the body")
		}
	}
	return nil
}

// fitRequestID says whether a request id may be used and logged: not empty, not long, visible ASCII only.
func fitRequestID(id []byte) bool {
	for _, c := range id {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(id) > 0 && len(id) <= MaxRequestID
}
