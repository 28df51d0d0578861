package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// The client reads its answers off the socket itself. net/http would forgive what a relay must not do (a bare LF, a chunk size
// with a sign), hide when bytes came, and retry a request on a fresh connection without saying so.

var (
	// errEnded is a connection that ended inside a message.
	errEnded = errors.New("the connection ended inside the answer")
	// errSilent is a connection on which nothing came until the client's patience was over.
	errSilent = errors.New("no byte came for too long")
)

// misframed is an answer that isn't valid HTTP/1.1; the string says why.
type misframed string

func (m misframed) Error() string { return string(m) }

const (
	maxAnswerHead = 16 << 10
	inputSize     = 16 << 10
)

// wire is one connection of a client, with the bytes that were read from it and not used yet in buf[from:to].
type wire struct {
	conn     net.Conn
	release  func() bool // takes back the promise to close conn when the client's time is over
	buf      []byte
	from, to int
	at       time.Time     // when the last bytes were read
	pause    time.Duration // a slow reader waits so long before each read
}

func dial(ctx context.Context, address string, slow bool) (*wire, error) {
	network, where := splitAddress(address)
	conn, err := new(net.Dialer).DialContext(ctx, network, where)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	w := &wire{conn: conn, buf: make([]byte, inputSize)}
	w.release = context.AfterFunc(ctx, func() { conn.Close() })
	if slow {
		w.buf, w.pause = make([]byte, slowRead), slowPause
		if tcp, ok := conn.(*net.TCPConn); ok {
			if err := tcp.SetReadBuffer(slowRead); err != nil {
				w.close()
				return nil, fmt.Errorf("shrink the receive buffer: %w", err)
			}
		}
	}
	return w, nil
}

// close ends the connection. Bytes that still come make it a reset, which is what a client that leaves causes.
func (w *wire) close() {
	w.release()
	_ = w.conn.Close() // the answer was judged before; there is nothing to tell of this
}

// fill reads once, appending to what is there. It is called only when all bytes that are there are too few.
func (w *wire) fill() error {
	if w.from == w.to {
		w.from, w.to = 0, 0
	} else if w.to == len(w.buf) {
		w.to = copy(w.buf, w.buf[w.from:w.to])
		w.from = 0
	}
	if w.to == len(w.buf) { // a head longer than a slow reader's few bytes
		w.buf = append(w.buf, make([]byte, len(w.buf))...)
	}
	if w.pause > 0 {
		time.Sleep(w.pause) // the slowness itself, no synchronisation
	}
	n, err := w.conn.Read(w.buf[w.to:])
	w.to += n
	if n > 0 {
		w.at = time.Now()
		return nil
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errSilent
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errEnded, err)
	}
	return nil
}

// arm sets the time by which the answer must have ended. Once an answer: a deadline a token would cost more than its reading.
func (w *wire) arm(within time.Duration) error {
	if err := w.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	return nil
}

// head is what a client needs to know of an answer's head.
type head struct {
	status    int
	requestID string
	length    int64 // -1: not given
	chunked   bool
	stream    bool // text/event-stream
	keepAlive bool
}

// readHead reads one final head; interim ones (1xx) are passed over.
func (w *wire) readHead() (head, error) {
	for {
		h, size, err := w.peekHead()
		if err != nil {
			return h, err
		}
		w.from += size
		if h.status >= 200 {
			return h, nil
		}
	}
}

// awaitContinue waits until the other side wants the body. When it answers at once instead, that is left to be read.
func (w *wire) awaitContinue() error {
	for {
		h, size, err := w.peekHead()
		if err != nil {
			return err
		}
		if h.status >= 200 {
			return fmt.Errorf("status %d instead of 100", h.status)
		}
		w.from += size
		if h.status == 100 {
			return nil
		}
	}
}

// peekHead reads until a head is whole, and leaves it where it is; size is how many bytes it has.
func (w *wire) peekHead() (h head, size int, err error) {
	for {
		if i := bytes.Index(w.buf[w.from:w.to], []byte("\r\n\r\n")); i >= 0 {
			h, err = parseHead(string(w.buf[w.from : w.from+i+2]))
			return h, i + 4, err
		}
		if w.to-w.from > maxAnswerHead {
			return head{}, 0, misframed("the head has no end")
		}
		if err := w.fill(); err != nil {
			return head{}, 0, err
		}
	}
}

// parseHead judges status line and fields; raw ends with the CRLF of the last field.
func parseHead(raw string) (head, error) {
	h := head{length: -1, keepAlive: true}
	if strings.Count(raw, "\n") != strings.Count(raw, "\r\n") || strings.Count(raw, "\r") != strings.Count(raw, "\r\n") {
		return h, misframed("bare CR or LF in the head")
	}
	line, fields, _ := strings.Cut(raw, "\r\n")
	rest, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	code, _, spaced := strings.Cut(rest, " ")
	status, err := strconv.Atoi(code)
	if !ok || !spaced || len(code) != 3 || err != nil || status < 100 {
		return h, misframed(fmt.Sprintf("status line %.40q", line))
	}
	h.status = status
	for field := range strings.SplitSeq(strings.TrimSuffix(fields, "\r\n"), "\r\n") {
		name, value, ok := strings.Cut(field, ":")
		if fields == "" {
			break
		}
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return h, misframed(fmt.Sprintf("field line %.40q", field))
		}
		if err := h.field(strings.ToLower(name), strings.Trim(value, " \t")); err != nil {
			return h, err
		}
	}
	if h.chunked && h.length >= 0 {
		return h, misframed("both Content-Length and chunked")
	}
	return h, nil
}

func (h *head) field(name, value string) error {
	switch name {
	case "content-length":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || h.length >= 0 {
			return misframed(fmt.Sprintf("Content-Length %.40q", value))
		}
		h.length = int64(n)
	case "transfer-encoding":
		if !strings.EqualFold(value, "chunked") || h.chunked {
			return misframed(fmt.Sprintf("Transfer-Encoding %.40q", value))
		}
		h.chunked = true
	case "content-type":
		h.stream = strings.HasPrefix(strings.ToLower(value), "text/event-stream")
	case "connection":
		h.keepAlive = !strings.EqualFold(value, "close")
	case "x-request-id":
		if h.requestID != "" {
			return misframed("two X-Request-Id")
		}
		h.requestID = value
	}
	return nil
}

// body is where in an answer's framing the client stands.
type body struct {
	chunked  bool
	toClose  bool  // ends with the connection
	left     int64 // bytes of this chunk, or of the whole body, that are still to come
	inChunk  bool
	finished bool
}

func (h head) body() body {
	switch {
	case h.chunked:
		return body{chunked: true}
	case h.length >= 0:
		return body{left: h.length, finished: h.length == 0}
	}
	return body{toClose: true}
}

// piece is the next stretch of payload, valid until the next call; empty with b.finished set at the end of the message.
func (w *wire) piece(b *body) ([]byte, error) {
	for {
		if b.finished {
			return nil, nil
		}
		if b.chunked && b.left == 0 {
			if err := w.chunkLine(b); err != nil {
				return nil, err
			}
			continue
		}
		if w.from == w.to {
			err := w.fill()
			if b.toClose && errors.Is(err, io.EOF) {
				b.finished = true
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
		}
		n := w.to - w.from
		if !b.toClose {
			n = int(min(int64(n), b.left))
			b.left -= int64(n)
			b.finished = !b.chunked && b.left == 0
		}
		w.from += n
		return w.buf[w.from-n : w.from], nil
	}
}

// chunkLine passes the framing between two chunks: the CRLF of the last one, the next size, and after a size of 0 the trailers.
func (w *wire) chunkLine(b *body) error {
	if b.inChunk {
		line, err := w.line()
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return misframed(fmt.Sprintf("chunk goes on after its end: %.40q", line))
		}
		b.inChunk = false
	}
	line, err := w.line()
	if err != nil {
		return err
	}
	size, err := strconv.ParseUint(string(line), 16, 62)
	if err != nil || len(line) > 16 {
		return misframed(fmt.Sprintf("chunk size %.40q", line))
	}
	b.left, b.inChunk = int64(size), true
	if size > 0 {
		return nil
	}
	for { // trailers
		line, err := w.line()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			b.finished = true
			return nil
		}
		if bytes.IndexByte(line, ':') < 1 {
			return misframed(fmt.Sprintf("trailer %.40q", line))
		}
	}
}

// line is the next CRLF-ended line without its end.
func (w *wire) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(w.buf[w.from:w.to], '\n'); i >= 0 {
			line := w.buf[w.from : w.from+i]
			w.from += i + 1
			if i == 0 || line[i-1] != '\r' {
				return nil, misframed("line ends with a bare LF")
			}
			return line[:i-1], nil
		}
		if w.to-w.from > maxAnswerHead {
			return nil, misframed("a line has no end")
		}
		if err := w.fill(); err != nil {
			return nil, err
		}
	}
}
