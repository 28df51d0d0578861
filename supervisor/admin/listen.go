package admin

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// WhoListens says, as an error, who listens on the control socket at path.
func WhoListens(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := NewClient(path).Status(ctx)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: somebody listens on it and does not answer; it may be a sidecar that is stopped or hanging", path)
	}
	if err != nil {
		return fmt.Errorf("%s: somebody listens on it who is no sidecar", path)
	}
	pid := s.Keeper
	if pid == 0 {
		pid = s.Runner
	}
	return fmt.Errorf("%s: sidecar %s is running already, PID %d; write another --name, or stop it", path, s.Name, pid)
}

// mostConns bounds the connections to one admin listener: their descriptors are taken from the same table as those
// of clients' streams.
const mostConns = 64

// bounded is a listener with at most mostConns connections; more wait in the backlog.
type bounded struct {
	net.Listener
	places chan struct{}
	done   chan struct{}
	once   sync.Once
}

func bound(l net.Listener) *bounded {
	return &bounded{Listener: l, places: make(chan struct{}, mostConns), done: make(chan struct{})}
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.places
		return nil, err
	}
	u, _ := c.(*net.UnixConn)
	return &boundedConn{Conn: c, passed: passed{unix: u}, free: sync.OnceFunc(func() { <-b.places })}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// boundedConn gives its place back when it closes.
type boundedConn struct {
	net.Conn
	passed passed
	free   func()
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.passed.wanted {
		return c.passed.read(p)
	}
	return c.Conn.Read(p)
}

func (c *boundedConn) Close() error {
	defer c.free()
	c.passed.drop()
	return c.Conn.Close()
}
