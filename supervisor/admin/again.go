package admin

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// againFor bounds how long a question is put again: a take-over lasts milliseconds.
const againFor = 5 * time.Second

// askAgain is ask, put again where the runner died over it. That is for what may be asked twice: a look, a word that is in force
// already, a restart that is joined by the second question.
func (c *Client) askAgain(ctx context.Context, method, path string, body []byte, within time.Duration, v any) error {
	for began := time.Now(); ; {
		err := c.ask(ctx, method, path, body, within, v)
		if err == nil || !brokenOff(err) || time.Since(began) > againFor {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryEvery):
		}
	}
}

// brokenOff says that somebody had taken the connection and went without an answer.
func brokenOff(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, unix.ECONNRESET, unix.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
