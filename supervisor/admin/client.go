package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Client speaks with one sidecar over its control socket.
type Client struct {
	path string
	http http.Client
}

// NewClient returns a client of the control socket at path. It connects anew for each question, so it goes on when
// the sidecar's runner was replaced.
func NewClient(path string) *Client {
	var d net.Dialer
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Find returns a client of the first of the control sockets that a sidecar listens on. If there is none the error
// is a NotRunning that holds why, for each.
func Find(paths []string) (*Client, error) {
	var tried NotRunning
	for _, path := range paths {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
			return NewClient(path), nil
		}
		if info, statErr := os.Stat(path); statErr == nil && info.Mode().Type() != fs.ModeSocket {
			err = errNoSocket // connect says ECONNREFUSED, as of a socket that nobody listens on
		}
		tried = append(tried, Tried{Path: path, Err: err})
	}
	return nil, tried
}

// NotRunning is the error of Find.
type NotRunning []Tried

var errNoSocket = errors.New("is no socket")

// Tried is a control socket that could not be connected to.
type Tried struct {
	Path string
	Err  error
}

func (n NotRunning) Error() string {
	var tried []string
	for _, t := range n {
		tried = append(tried, fmt.Sprintf("%s: %s", t.Path, t.reason()))
	}
	if n.Forbidden() {
		return "may not ask the sidecar (tried " + strings.Join(tried, "; ") + ")"
	}
	return "no sidecar is running (tried " + strings.Join(tried, "; ") + ")"
}

func (t Tried) reason() string {
	switch {
	case errors.Is(t.Err, fs.ErrNotExist):
		return "no such socket"
	case errors.Is(t.Err, unix.ECONNREFUSED):
		return "nobody listens on it any more"
	case errors.Is(t.Err, fs.ErrPermission):
		return "permission denied"
	default:
		return t.Err.Error()
	}
}

// Forbidden reports whether there is a socket that this user may not open.
func (n NotRunning) Forbidden() bool {
	for _, t := range n {
		if errors.Is(t.Err, fs.ErrPermission) {
			return true
		}
	}
	return false
}

// Path returns the control socket's path.
func (c *Client) Path() string { return c.path }

const answerTime = 10 * time.Second // that a sidecar has for an answer, beyond what it was told to wait

// Status asks for a snapshot.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	if err := c.askAgain(ctx, http.MethodGet, "/v1/status", nil, answerTime, &s); err != nil {
		return Status{}, fmt.Errorf("ask for status: %w", err)
	}
	return s, nil
}

// Restart asks for a restart. The error may be a Refusal.
func (c *Client) Restart(ctx context.Context, r RestartRequest) (Restart, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return Restart{}, err
	}
	var begun Restart
	if err := c.askAgain(ctx, http.MethodPost, "/v1/restart", body, answerTime, &begun); err != nil {
		return Restart{}, fmt.Errorf("ask for a restart: %w", err)
	}
	return begun, nil
}

// Follow waits until the revision of a restart is above after, at most wait (LongestWait at most), and returns it.
func (c *Client) Follow(ctx context.Context, id, after int64, wait time.Duration) (Restart, error) {
	var r Restart
	path := fmt.Sprintf("/v1/restart/%d?after=%d&wait=%s", id, after, wait)
	if err := c.ask(ctx, http.MethodGet, path, nil, wait+answerTime, &r); err != nil {
		return Restart{}, fmt.Errorf("follow restart %d: %w", id, err)
	}
	return r, nil
}

// Bounds of Wait.
const (
	pollTime    = 5 * time.Second
	retryEvery  = 100 * time.Millisecond
	patienceFor = 15 * time.Second // for a sidecar that does not answer: a take-over lasts milliseconds
)

// Wait follows a restart to its end and calls progress, if not nil, with each change. It goes on when the sidecar's
// runner is replaced meanwhile.
func (c *Client) Wait(ctx context.Context, r Restart, progress func(Restart)) (Restart, error) {
	lastAnswer := time.Now()
	for !r.Ended() {
		next, err := c.Follow(ctx, r.ID, r.Revision, pollTime)
		if _, refused := errors.AsType[*Refusal](err); refused || ctx.Err() != nil {
			return r, err
		}
		if err != nil {
			if time.Since(lastAnswer) > patienceFor {
				return r, err
			}
			select {
			case <-time.After(retryEvery):
			case <-ctx.Done():
			}
			continue
		}
		lastAnswer = time.Now()
		changed := next.Revision != r.Revision
		next.Joined, next.Now, next.Ahead = r.Joined, r.Now, r.Ahead // how it was asked for, which only the first answer tells
		r = next
		if changed && progress != nil {
			progress(r)
		}
	}
	return r, nil
}

const mostAnswer = 8 << 20 // bytes of an answer: the longest is a history

// ask sends one request and reads its JSON answer into v.
func (c *Client) ask(caller context.Context, method, path string, body []byte, within time.Duration, v any) error {
	ctx, cancel := context.WithTimeout(caller, within)
	defer cancel()
	// The host is never resolved: it is there because HTTP wants one.
	request, err := http.NewRequestWithContext(ctx, method, "http://sidecar"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded && caller.Err() == nil {
			return fmt.Errorf("control socket %s: the sidecar does not answer within %v; it may be stopped or hanging", c.path, within)
		}
		if wrapper, ok := errors.AsType[*url.Error](err); ok {
			err = wrapper.Err // less the made-up URL
		}
		return fmt.Errorf("control socket %s: %w", c.path, err)
	}
	defer answer.Body.Close()
	return c.read(answer, v)
}

// read reads a JSON answer into v, or the error that came instead.
func (c *Client) read(answer *http.Response, v any) error {
	d := json.NewDecoder(io.LimitReader(answer.Body, mostAnswer))
	if answer.StatusCode/100 == 2 {
		if err := d.Decode(v); err != nil {
			return fmt.Errorf("control socket %s: read the answer: %w", c.path, err)
		}
		return nil
	}
	var failed errorBody
	if err := d.Decode(&failed); err != nil || failed.Error.Message == "" {
		return fmt.Errorf("control socket %s: answered %s", c.path, answer.Status)
	}
	return &failed.Error
}
