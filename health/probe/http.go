package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// How many bytes of an answer are read. A health answer has a few hundred.
const (
	mostAnswer = 128 << 10 // head and body
	mostBody   = 64 << 10
)

// HTTP asks GET path, over "tcp" or "unix". An answer with a status of 200 to 299 that comes whole passes; a redirect
// is not followed, since what it leads to is not this server's health. Of a long body only the first 64 KiB must come.
func HTTP(network, address, path string) Probe {
	host := hostOf(network, address)
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
		if err != nil {
			return fmt.Errorf("ask for %s: %w", path, err)
		}
		req.Header.Set("User-Agent", userAgent)
		req.Close = true

		conn, err := dial(ctx, network, address)
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

		if err := req.Write(conn); err != nil {
			return noAnswer(ctx, err)
		}
		return readAnswer(ctx, bufio.NewReader(io.LimitReader(conn, mostAnswer)), req, io.Discard)
	}
}

// userAgent is how a worker's log knows us.
const userAgent = "autoglm-sidecar"

// hostOf is what a request to that address has for its Host.
func hostOf(network, address string) string {
	if network == "unix" {
		return "localhost"
	}
	return address
}

// readAnswer reads a whole answer, its body, or the beginning of a long one, into body.
func readAnswer(ctx context.Context, r *bufio.Reader, req *http.Request, body io.Writer) error {
	answer, err := http.ReadResponse(r, req)
	for err == nil && answer.StatusCode < 200 { // 1xx: the answer is still to come (RFC 9110, 15.2)
		answer, err = http.ReadResponse(r, req)
	}
	if err != nil {
		return noAnswer(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode > 299 {
		return &StatusError{Code: answer.StatusCode}
	}
	if _, err := io.CopyN(body, answer.Body, mostBody); err != nil && err != io.EOF {
		return noAnswer(ctx, err)
	}
	return nil
}

// noAnswer says what became of an answer that did not come whole.
func noAnswer(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ErrNoAnswer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it ended too early", ErrBroken)
	default:
		return fmt.Errorf("%w: %w", ErrBroken, cause(err))
	}
}
