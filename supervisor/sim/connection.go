package sim

import (
	"bufio"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxHead bounds a request's head, as uvicorn's parser does (64 KiB).
const maxHead = 64 << 10

// connection is one client's connection. Its goroutine reads: requests, their bodies, and while an answer is given the
// byte or the end that tells that the client has left. Answers are written by the pacer, plain ones by the goroutine.
type connection struct {
	server *server
	net    net.Conn
	raw    syscall.RawConn
	source io.LimitedReader // the socket, bounded while a head is read
	reader *bufio.Reader

	// The pacer's goroutine alone: the operands of attempt, here so that a write allocates nothing.
	out     []byte
	taken   int
	failed  error
	attempt func(fd uintptr) bool
}

func newConnection(s *server, c net.Conn) *connection {
	raw, _ := c.(syscall.Conn).SyscallConn() // no error from sockets that the net package made
	conn := &connection{server: s, net: c, raw: raw, source: io.LimitedReader{R: c, N: math.MaxInt64}}
	conn.reader = bufio.NewReader(&conn.source)
	conn.attempt = func(fd uintptr) bool {
		for {
			conn.taken, conn.failed = unix.Write(int(fd), conn.out)
			if !errors.Is(conn.failed, unix.EINTR) {
				return true // EAGAIN too: the pacer waits in its own way
			}
		}
	}
	return conn
}

// serve answers one request after the other until the connection ends.
func (c *connection) serve() {
	defer c.net.Close()
	for {
		c.source.N = maxHead
		r, err := http.ReadRequest(c.reader)
		bounded := c.source.N <= 0
		c.source.N = math.MaxInt64
		if err != nil {
			if c.unreadable(err, bounded) {
				c.server.malformed.Add(1)
				const text = "Invalid HTTP request received."
				c.write(appendPlain(nil, &http.Request{Close: true}, http.StatusBadRequest, time.Now(), typeText, []byte(text)))
			}
			return
		}
		c.net.SetReadDeadline(time.Time{})
		expected := &expectedBody{ReadCloser: r.Body, conn: c, asked: r.Header.Get("Expect") != "100-continue"}
		r.Body = expected
		if !c.handle(r) || r.Close || !expected.asked {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		c.idle()
	}
}

// unreadable says whether a head could not be read because of what it is, and not because the connection ended.
func (c *connection) unreadable(err error, bounded bool) bool {
	if bounded {
		return true
	}
	return !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !lost(err)
}

// lost says whether err is the end of a connection.
func lost(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) ||
		errors.Is(err, os.ErrDeadlineExceeded)
}

// watch waits while an answer is given, and tells the pacer if the client leaves. It says whether another request may
// follow. As in uvicorn a client that closes only its own direction counts as gone. Behind a pipelined request the
// end can't be seen, there a failing write must tell.
func (c *connection) watch(d *delivery) (more bool, reason string) {
	_, err := c.reader.Peek(1)
	if err == nil {
		<-d.done
		return true, ""
	}
	if c.server.pacer.leave(d) {
		return false, err.Error()
	}
	<-d.done // else the connection would be closed before its last bytes are sent
	return false, ""
}

// writeNow gives the socket as much of b as it takes at once.
func (c *connection) writeNow(b []byte) (int, error) {
	c.out, c.taken, c.failed = b, 0, nil
	if err := c.raw.Write(c.attempt); err != nil {
		return 0, err
	}
	if errors.Is(c.failed, unix.EAGAIN) {
		return 0, nil
	}
	return max(c.taken, 0), c.failed
}

// write gives the socket all of b, for answers that are not paced.
func (c *connection) write(b []byte) error {
	_, err := c.net.Write(b)
	return err
}

// idle bounds the wait for the next request.
func (c *connection) idle() {
	if keep := c.server.options.KeepAlive; keep > 0 {
		c.net.SetReadDeadline(time.Now().Add(keep))
	}
}

// hungUp says whether the client has closed, though there may be bytes of it still to read.
func (c *connection) hungUp() (gone bool) {
	c.raw.Control(func(fd uintptr) {
		events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(events, 0)
		gone = err == nil && n > 0
	})
	return gone
}

func (c *connection) close() { c.net.Close() }

// reset closes with RST where the protocol has one.
func (c *connection) reset() {
	if tcp, ok := c.net.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.net.Close()
}

// closeGently ends an answer to a request that was not read: FIN, then reading for a while, because closing with unread
// bytes sends RST, which takes the answer away from the client.
func (c *connection) closeGently() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	c.net.SetReadDeadline(time.Now().Add(c.server.linger))
	io.Copy(io.Discard, c.reader)
}

// expectedBody asks for the body of a request with Expect: 100-continue when it is first read.
type expectedBody struct {
	io.ReadCloser
	conn  *connection
	asked bool
}

// Read sends 100 Continue before the first byte is read.
func (b *expectedBody) Read(p []byte) (int, error) {
	if !b.asked {
		b.asked = true
		if err := b.conn.write(appendInterim(nil, http.StatusContinue)); err != nil {
			return 0, err
		}
	}
	return b.ReadCloser.Read(p)
}
