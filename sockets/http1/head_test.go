package http1

import (
	"bytes"
	"strings"
	"testing"
)

func TestFindHeadEnd(t *testing.T) {
	long := "GET / HTTP/1.1\r\nHost: h\r\nX: "
	fits := long + strings.Repeat("x", MaxHead-len(long)-4) + "\r\n\r\n"
	for _, tt := range []struct {
		name, in string
		end      int
		status   int
	}{
		{"nothing yet", "", 0, 0},
		{"half a line", "GET / HT", 0, 0},
		{"up to a carriage return", "GET / HTTP/1.1\r", 0, 0},
		{"all but the last byte", "GET / HTTP/1.1\r\n\r", 0, 0},
		{"whole", "GET / HTTP/1.1\r\nA: b\r\n\r\n", 24, 0},
		{"whole, and a body behind it", "GET / HTTP/1.1\r\n\r\n\r\n\x00\n", 18, 0},
		{"tabs and bytes above ASCII", "GET / HTTP/1.1\r\nA:\tb\tc\xff\x80\r\n\r\n", 28, 0},
		{"bare line feed", "GET / HTTP/1.1\n", 0, 400},
		{"bare line feed after a field", "GET / HTTP/1.1\r\nA: b\n", 0, 400},
		{"bare line feed instead of the blank line", "GET / HTTP/1.1\r\n\n", 0, 400},
		{"bare carriage return", "GET / HTTP/1.1\r\nA: b\rc", 0, 400},
		{"two carriage returns", "GET / HTTP/1.1\r\r\n", 0, 400},
		{"NUL", "GET / HTTP/1.1\r\nA: \x00", 0, 400},
		{"DEL", "GET / HTTP/1.1\r\nA: \x7f", 0, 400},
		{"control byte", "GET / HTTP/1.1\r\nA: \x1b", 0, 400},
		{"vertical tab", "GET / HTTP/1.1\r\nA:\v", 0, 400},
		{"empty line first", "\r\nGET / HTTP/1.1\r\n\r\n", 0, 400},
		{"line feed first", "\nGET / HTTP/1.1\r\n\r\n", 0, 400},
		{"space first", " GET / HTTP/1.1\r\n\r\n", 0, 400},
		{"the beginning of TLS", "\x16\x03\x01", 0, 400},
		{"as long as allowed", fits, MaxHead, 0},
		{"one byte too long", strings.Replace(fits, "X: ", "X: x", 1), 0, 431},
		{"too long and no end in sight", strings.Repeat("x", MaxHead), 0, 431},
		{"far too long", strings.Repeat("x", 2*MaxHead), 0, 431},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(how string, end int, bad *Malformed) {
				t.Helper()
				if end != tt.end || statusOf(bad) != tt.status {
					t.Errorf("%s: got end %d, %v; want end %d, status %d", how, end, bad, tt.end, tt.status)
				}
			}
			end, bad := FindHeadEnd([]byte(tt.in), 0)
			check("in one piece", end, bad)

			end, bad = 0, nil
			for n, from := 1, 0; n <= len(tt.in) && end == 0 && bad == nil; n++ {
				end, bad = FindHeadEnd([]byte(tt.in[:n]), from)
				from = n
			}
			check("byte by byte", end, bad)
			if len(tt.in) > 100 {
				return
			}
			for cut := range len(tt.in) {
				if end, bad = FindHeadEnd([]byte(tt.in[:cut]), 0); end == 0 && bad == nil {
					end, bad = FindHeadEnd([]byte(tt.in), cut)
				}
				check("in two pieces", end, bad)
			}
		})
	}
}

// A control byte is found at whatever place of the eight that are looked at together, and beside whatever neighbours.
func TestControlInEveryByteAtEveryPlace(t *testing.T) {
	for _, around := range []byte{'a', '\t', ' ', '~', 0x80, 0xff} {
		for size := 1; size <= 20; size++ {
			for at := range size {
				for c := range 256 {
					b := bytes.Repeat([]byte{around}, size)
					b[at] = byte(c)
					want := size
					if c != '\t' && (c < ' ' || c == 0x7f) {
						want = at
					}
					if got := controlIn(b); got != want {
						t.Fatalf("controlIn(%q) = %d, want %d", b, got, want)
					}
				}
			}
		}
	}
	if got := controlIn([]byte("ab\x00\x1fefgh\x01")); got != 2 {
		t.Errorf("of several, found the one at %d, want the first, at 2", got)
	}
}

func statusOf(bad *Malformed) int {
	if bad == nil {
		return 0
	}
	return bad.Status
}
