package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Echo is what /sim/echo answers: what came of the request, so that a client can compare.
type Echo struct {
	SHA256   string      `json:"sha256"`
	Length   int64       `json:"length"`
	Life     string      `json:"system_fingerprint"`
	Method   string      `json:"method"`
	Target   string      `json:"target"`
	Host     string      `json:"host"`
	Proto    string      `json:"proto"`
	Headers  http.Header `json:"headers"`  // as Go's parser leaves them: canonical names, framing fields apart
	Framing  []string    `json:"framing"`  // Transfer-Encoding, if it was chunked
	Trailers http.Header `json:"trailers"` // that followed a chunked body
}

// echo reads a body, at the pace that the query asks for, and answers what it was.
func (c *connection) echo(r *http.Request, way Stream) (more bool) {
	s, began := c.server, time.Now()
	query := r.URL.Query()
	rate, _ := strconv.Atoi(query.Get("rate")) // bytes a second; 0: as they come
	delay, _ := time.ParseDuration(query.Get("delay"))
	if rate > 0 || delay > 0 {
		if buffered, ok := c.net.(interface{ SetReadBuffer(int) error }); ok {
			buffered.SetReadBuffer(64 << 10) // else the kernel takes megabytes for us and nobody is slowed
		}
	}
	body := &slowReader{source: r.Body, conn: c, rate: rate}
	if err := body.pause(delay); err != nil {
		return c.lostBody(r, err, began)
	}
	if query.Get("back") != "" {
		return c.echoBack(r, way, body, began)
	}
	sum := sha256.New()
	length, err := io.Copy(sum, body)
	if err != nil {
		return c.lostBody(r, err, began)
	}
	defer s.ended(true)
	answer, err := json.Marshal(Echo{
		SHA256: sumText(sum), Length: length, Life: s.life, Method: r.Method, Target: r.RequestURI, Host: r.Host,
		Proto: r.Proto, Headers: r.Header, Framing: r.TransferEncoding, Trailers: r.Trailer,
	})
	if err != nil {
		return c.refuse(r, http.StatusInternalServerError, "InternalServerError", err.Error())
	}
	var interims []byte
	for _, status := range way.Interim {
		interims = appendInterim(interims, status)
	}
	return c.write(appendPlain(interims, r, http.StatusOK, s.wall(), typeJSON, answer)) == nil
}

// echoBack sends the body back while it is read, and its hash as a trailer.
func (c *connection) echoBack(r *http.Request, way Stream, body io.Reader, began time.Time) (more bool) {
	s := c.server
	fields := []string{"content-type", "application/octet-stream", "trailer", "x-sim-sha256, x-sim-life", "transfer-encoding", "chunked"}
	var out []byte
	for _, status := range way.Interim {
		out = appendInterim(out, status)
	}
	out = appendHead(out, "HTTP/1.1", http.StatusOK, s.wall(), fields...)
	sum := sha256.New()
	buf := make([]byte, 16<<10)
	for {
		if err := c.write(out); err != nil {
			return c.lostBody(r, err, began)
		}
		n, err := body.Read(buf)
		sum.Write(buf[:n])
		out = out[:0]
		if n > 0 {
			out = appendChunk(out, buf[:n])
		}
		switch {
		case err == io.EOF:
			out = append(out, "0\r\nx-sim-sha256: "+sumText(sum)+"\r\nx-sim-life: "+s.life+"\r\n\r\n"...)
			defer s.ended(true)
			return c.write(out) == nil
		case err != nil:
			c.lostBody(r, err, began)
			return false // in the middle of an answer
		}
	}
}

func sumText(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

// slowReader reads at most rate bytes a second.
type slowReader struct {
	source io.Reader
	conn   *connection
	rate   int
}

// Read reads up to a tenth of a second's bytes and then rests for as long as they are worth.
func (r *slowReader) Read(p []byte) (int, error) {
	if r.rate <= 0 {
		return r.source.Read(p)
	}
	p = p[:min(len(p), max(1, r.rate/10))]
	n, err := r.source.Read(p)
	if err == nil {
		err = r.pause(time.Duration(n) * time.Second / time.Duration(r.rate))
	}
	return n, err
}

// pause rests, unless the worker stops or the client leaves: with bytes still to read, no read would tell that.
func (r *slowReader) pause(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(min(left, 100*time.Millisecond))
		select {
		case <-timer.C:
		case <-r.conn.server.stopped:
			timer.Stop()
			return net.ErrClosed
		}
		if r.conn.hungUp() {
			return io.ErrUnexpectedEOF
		}
	}
}
