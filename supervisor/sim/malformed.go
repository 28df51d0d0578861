package sim

import (
	"maps"
	"slices"
	"strings"
)

// Malformed names a way to break HTTP instead of answering. After its bytes the connection is closed.
type Malformed string

// malformedTexts are the shapes. Each stands for a rule of RFC 9112 that a careful proxy holds against the worker. What is
// long is only named: it is made where it is sent, since each start of the program makes this map, that of a runner too.
var malformedTexts = map[Malformed]string{
	"":                  "",
	"not_http":          "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
	"http2":             "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
	"http19":            "HTTP/1.9 200 OK\r\ncontent-length: 2\r\n\r\nok",
	"no_status":         "HTTP/1.1 OK\r\ncontent-length: 2\r\n\r\nok",
	"status_four":       "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
	"bare_lf":           "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
	"obs_fold":          "HTTP/1.1 200 OK\r\nx-long: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
	"space_colon":       "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
	"no_colon":          "HTTP/1.1 200 OK\r\ncontent-length\r\n\r\nok",
	"nul":               "HTTP/1.1 200 OK\r\nx-field: a\x00b\r\ncontent-length: 2\r\n\r\nok",
	"huge_head":         "HTTP/1.1 200 OK\r\nx-field: " + longWord + "\r\ncontent-length: 2\r\n\r\nok",
	"endless_head":      "HTTP/1.1 200 OK\r\n" + manyFields,
	"half_head":         "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-fi",
	"two_lengths":       "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
	"length_list":       "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
	"length_sign":       "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
	"length_negative":   "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
	"length_huge":       "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nok",
	"length_short":      "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok",
	"length_and_chunks": "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"unknown_coding":    "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"chunked_twice":     "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"chunk_not_hex":     chunkedHead + goodChunk + "zz\r\nok\r\n0\r\n\r\n",
	"chunk_sign":        chunkedHead + goodChunk + "+2\r\nok\r\n0\r\n\r\n",
	"chunk_prefix":      chunkedHead + goodChunk + "0x2\r\nok\r\n0\r\n\r\n",
	"chunk_overflow":    chunkedHead + goodChunk + "10000000000000002\r\nok\r\n0\r\n\r\n",
	"chunk_bare_lf":     chunkedHead + goodChunk + "2\nok\n0\n\n",
	"chunk_too_long":    chunkedHead + goodChunk + "2\r\nokay\r\n0\r\n\r\n",
	"chunk_extension":   chunkedHead + goodChunk + "2;" + longWord + "\r\nok\r\n0\r\n\r\n",
	"framing_trailer":   chunkedHead + goodChunk + "0\r\ncontent-length: 2\r\n\r\n",
	"bad_trailer":       chunkedHead + goodChunk + "0\r\nno colon here\r\n\r\n",
	"after_end":         "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nstolen!",
}

// chunkedHead and goodChunk begin an event stream well, so that the break comes in the middle of a body.
const (
	chunkedHead = "HTTP/1.1 200 OK\r\ncontent-type: " + typeSSE + "\r\ntransfer-encoding: chunked\r\n\r\n"
	goodChunk   = "16\r\ndata: {\"choices\":[]}\n\n\r\n"
)

// Words for what is long.
const (
	longWord   = "{80 KiB}"
	manyFields = "{20,000 fields}"
)

// malformedBytes is what is sent for a shape.
func malformedBytes(m Malformed) string {
	return strings.NewReplacer(longWord, strings.Repeat("a", 80<<10), manyFields, strings.Repeat("x-field: a\r\n", 20_000)).Replace(malformedTexts[m])
}

// malformedShapes are the names, the empty one included, in order.
func malformedShapes() []Malformed { return slices.Sorted(maps.Keys(malformedTexts)) }
