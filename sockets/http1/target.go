package http1

import "bytes"

// parseTarget judges the request target (RFC 9112, 3.2). In absolute form the part that is sent on is what follows the authority, and the authority is kept to be compared with Host.
func (r *Request) parseTarget(head []byte, t Span) *Malformed {
	target := t.Of(head)
	for _, c := range target {
		// A fragment is never sent; a reader that cuts it off would see another target than one that doesn't.
		if c <= ' ' || c >= 0x7f || c == '#' {
			return refuse(400, "byte in the request target that can't stand there")
		}
	}
	switch {
	case len(target) == 0:
		return refuse(400, "empty request target")
	case r.Method == MethodConnect:
		if colon := bytes.LastIndexByte(target, ':'); !isHost(target) || target[len(target)-1] == ']' || colon < 0 || colon == len(target)-1 {
			return refuse(400, "CONNECT without host and port")
		}
		r.Target, r.authority = t, t
		return nil
	case string(target) == "*":
		if r.Method != MethodOptions {
			return refuse(400, "target * is for OPTIONS only")
		}
	case target[0] == '/':
	case len(target) > len("http://") && isFold(target[:len("http://")], "http://"):
		r.authority.From = t.From + int32(len("http://"))
		r.authority.To = t.To
		if end := bytes.IndexAny(r.authority.Of(head), "/?"); end >= 0 {
			r.authority.To = r.authority.From + int32(end)
		}
		t.From = r.authority.To
	default:
		return refuse(400, "unknown form of request target")
	}
	r.Target = t
	path, _, _ := bytes.Cut(t.Of(head), question)
	for i, c := range path {
		if c == '%' && (i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2])) {
			return refuse(400, "unfinished percent escape in the request target")
		}
	}
	return nil
}

var question = []byte("?")

// isHost says whether b is a host with an optional port, as in a Host field. Narrower than RFC 3986: of the registered names only letters, digits and - . _ ~ (so no percent escapes and
// no commas), of the literals only IPv6 in hexadecimal without a zone.
func isHost(b []byte) bool {
	var port []byte
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || !isIPv6(b[1:end]) {
			return false
		}
		port = b[end+1:]
	} else {
		end := 0
		for end < len(b) && isHostByte(b[end]) {
			end++
		}
		if end == 0 {
			return false
		}
		port = b[end:]
	}
	return len(port) == 0 || port[0] == ':' && isPort(port[1:])
}

func isHostByte(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_' || c == '~'
}

// isPort says whether b is a port number. RFC 3986 lets it be empty behind its colon.
func isPort(b []byte) bool {
	port := 0
	for _, c := range b {
		if port = port*10 + int(c-'0'); !isDigit(c) || port > 65535 {
			return false
		}
	}
	return len(b) <= 5
}

// isIPv6 says whether b is an IPv6 address, written with hexadecimal groups only.
func isIPv6(b []byte) bool {
	groups, gap := 0, false
	if bytes.HasPrefix(b, []byte("::")) {
		gap = true
		b = b[2:]
	}
	for len(b) > 0 {
		digits := 0
		for digits < len(b) && digits < 4 && isHex(b[digits]) {
			digits++
		}
		groups++
		switch b = b[digits:]; {
		case digits == 0:
			return false
		case len(b) == 0:
		case bytes.HasPrefix(b, []byte("::")) && !gap:
			gap = true
			b = b[2:]
		case b[0] == ':' && len(b) > 1:
			b = b[1:]
		default:
			return false
		}
	}
	return groups == 8 && !gap || groups < 8 && gap
}
