package http1

import "net/netip"

// Forwarded says by which field a worker learns of its client's address.
type Forwarded uint8

const (
	ForwardedOff  Forwarded = iota // by none of ours: what the client sends passes as it is
	ForwardedForX                  // X-Forwarded-For
	ForwardedRFC                   // Forwarded, RFC 7239
)

// Origin is what the worker is told of where a request comes from. A client that isn't trusted can't tell it anything: its own lines of both fields are taken out. To those of a trusted one
// its own address is added, at the end of the last line, since some workers read only one.
type Origin struct {
	By      Forwarded
	Client  netip.Addr // of the connection; zero: there is none, as on a unix socket, and none is added
	Trusted bool
}

// told are the lines of a head that say where it comes from.
type told struct {
	lines  [3]lineSet // by Forwarded, which is also what an origin's own field is
	last   [3]uint8   // number of the last one + 1; 0 = none
	forged lineSet    // X_Forwarded_For, which CGI and WSGI turn into the real one
	torn   bool       // a Forwarded whose quotes don't close would swallow what is added to it
}

// take judges line number n. The line is one of the field that by uses.
func (t *told) take(by Forwarded, n int, value []byte) {
	t.lines[by].add(n)
	if len(value) > 0 {
		t.last[by] = uint8(n + 1)
	}
	t.torn = t.torn || by == ForwardedRFC && !quotesClose(value)
}

// quotesClose says whether every quoted string in a field's value (RFC 9110, 5.6.4) has its end.
func quotesClose(value []byte) bool {
	quoted := false
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		}
	}
	return !quoted
}

// edit says which lines are taken out because of o, and which one is added to: its number + 1, 0 for a line of our own.
func (o Origin) edit(t *told) (drop lineSet, grow int) {
	switch {
	case o.By == ForwardedOff:
		return drop, 0
	case !o.Trusted:
		return t.forged.with(t.lines[ForwardedForX]).with(t.lines[ForwardedRFC]), 0
	case t.torn:
		drop = t.lines[ForwardedRFC]
	}
	if o.By != ForwardedRFC || !t.torn {
		grow = int(t.last[o.By])
	}
	return drop.with(t.forged), grow
}

// with returns the lines of both.
func (s lineSet) with(o lineSet) lineSet {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

// appendNode appends the client's address as its field wants it.
func (o Origin) appendNode(dst []byte) []byte {
	at := o.Client.Unmap().WithZone("")
	switch {
	case o.By == ForwardedForX:
		return at.AppendTo(dst)
	case at.Is4():
		return at.AppendTo(append(dst, "for="...))
	default: // RFC 7239, 6: in brackets, and so in quotes
		return append(at.AppendTo(append(dst, `for="[`...)), `]"`...)
	}
}

// appendToLine appends a field line with the client's address added to its value.
func (o Origin) appendToLine(dst, head []byte, at int) []byte {
	l, _ := fieldLineAt(head, at)
	dst = append(append(dst, head[at:l.value.To]...), ", "...)
	return append(o.appendNode(dst), "\r\n"...)
}

// appendOwnLine appends a line of our own.
func (o Origin) appendOwnLine(dst []byte) []byte {
	name := "X-Forwarded-For: "
	if o.By == ForwardedRFC {
		name = "Forwarded: "
	}
	return append(o.appendNode(append(dst, name...)), "\r\n"...)
}

// tell is whether anything is added.
func (o Origin) tell() bool { return o.By != ForwardedOff && o.Client.IsValid() }
