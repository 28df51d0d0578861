package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// selfAt is this program's file, and a free address for it to serve at.
func selfAt() (self, address string, err error) {
	if self, err = os.Executable(); err != nil {
		return "", "", err
	}
	address, err = freeAddress()
	return self, address, err
}

// clients ask over and over, each on a connection that is kept where the front keeps it.
type clients struct {
	load    load
	address string
	request []byte
	ended   sync.WaitGroup
	cancel  context.CancelFunc
	stop    atomic.Bool
	count   atomic.Bool // what comes is measured now
	each    []*client
}

// client is one of them. Its figures are its own until the clients have stopped.
type client struct {
	all     *clients
	conn    net.Conn
	buf     []byte
	held    int // bytes in buf
	units   int64
	answers int64
	cut     int64
	transit []int64 // ns from the worker's write to our read; of one token in transitEvery
}

const transitEvery = 16

func startClients(ctx context.Context, l load, address string) *clients {
	body := fmt.Sprintf(`{"model":"bench","stream":%t,"max_tokens":%d,"rate":%d,"messages":[{"role":"user","content":"%s"}]}`,
		l.tokens > 0, l.tokens, l.rate, bytes.Repeat([]byte("tap "), 200))
	path := "/v1/chat/completions"
	if l.tokens == 0 {
		path = "/v1/embeddings"
	}
	c := &clients{load: l, address: address, request: fmt.Appendf(nil,
		"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)}
	ctx, c.cancel = context.WithCancel(ctx)
	for range l.clients {
		one := &client{all: c, buf: make([]byte, 64<<10)}
		c.each = append(c.each, one)
		c.ended.Go(func() { one.run(ctx) })
	}
	return c
}

func (c *client) run(ctx context.Context) {
	for !c.all.stop.Load() && ctx.Err() == nil {
		err := c.ask(ctx)
		switch {
		case err == nil:
			c.answers++
		case !c.all.stop.Load():
			c.cut++
			c.hangUp()
			time.Sleep(10 * time.Millisecond) // whatever is wrong, nobody hammers at it
		}
	}
	c.hangUp()
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
	c.held = 0
}

// ask asks once.
func (c *client) ask(ctx context.Context) (err error) {
	if c.conn == nil {
		if c.conn, err = net.Dial("tcp", c.all.address); err != nil {
			return err
		}
	}
	conn := c.conn
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := c.conn.Write(c.all.request); err != nil {
		return err
	}
	head, err := c.readHead()
	switch {
	case err != nil:
		return err
	case !bytes.HasPrefix(head, []byte("HTTP/1.1 200")):
		return fmt.Errorf("answered %.40q", head)
	case c.all.load.tokens == 0:
		err = c.readPlain(head)
	default:
		err = c.readStream()
	}
	if err == nil && bytes.Contains(bytes.ToLower(head), []byte("connection: close")) {
		c.hangUp()
	}
	return err
}

// more reads once.
func (c *client) more() error {
	if c.held == len(c.buf) {
		return errors.New("an answer that doesn't end")
	}
	n, err := c.conn.Read(c.buf[c.held:])
	c.held += n
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *client) drop(n int) { c.held = copy(c.buf, c.buf[n:c.held]) }

func (c *client) readHead() ([]byte, error) {
	for {
		if end := bytes.Index(c.buf[:c.held], []byte("\r\n\r\n")); end >= 0 {
			head := slices.Clone(c.buf[:end])
			c.drop(end + 4)
			return head, nil
		}
		if err := c.more(); err != nil {
			return nil, err
		}
	}
}

func (c *client) readPlain(head []byte) error {
	if !bytes.Contains(bytes.ToLower(head), []byte("content-length: "+strconv.Itoa(len(plainBody)))) {
		return errors.New("an answer of another length")
	}
	for c.held < len(plainBody) {
		if err := c.more(); err != nil {
			return err
		}
	}
	c.drop(len(plainBody))
	if c.all.count.Load() {
		c.units++
	}
	return nil
}

var (
	tokenMark = []byte(`"content":"1`)
	doneMark  = []byte("data: [DONE]\n\n")
)

// readStream reads an event stream to its end, whatever the front has made of the chunks.
func (c *client) readStream() error {
	var (
		chunk  = -1 // bytes left of the chunk under way; -1: its size comes next
		text   []byte
		tokens int
		done   bool
	)
	for {
		at := 0
		for {
			if chunk < 0 {
				end := bytes.Index(c.buf[at:c.held], []byte("\r\n"))
				if end < 0 {
					break
				}
				size, err := strconv.ParseInt(string(c.buf[at:at+end]), 16, 32)
				if err != nil {
					return fmt.Errorf("a chunk's size that is none: %w", err)
				}
				at, chunk = at+end+2, int(size)
				if chunk == 0 {
					chunk = -2
				}
			}
			if chunk == -2 { // the last one
				if c.held-at < 2 {
					break
				}
				c.drop(at + 2)
				n, rest, err := c.countTokens(text)
				tokens, done = tokens+n, done || bytes.Contains(rest, doneMark)
				if err != nil {
					return err
				}
				if tokens != c.all.load.tokens || !done {
					return fmt.Errorf("%d tokens of %d, then an end", tokens, c.all.load.tokens)
				}
				return nil
			}
			part := min(chunk, c.held-at)
			text = append(text, c.buf[at:at+part]...)
			at, chunk = at+part, chunk-part
			if chunk > 0 || c.held-at < 2 {
				break
			}
			at, chunk = at+2, -1
		}
		c.drop(at)
		n, rest, err := c.countTokens(text)
		if err != nil {
			return err
		}
		tokens += n
		done = done || bytes.Contains(rest, doneMark)
		text = append(text[:0], rest...)
		if err := c.more(); err != nil {
			return err
		}
	}
}

// countTokens counts the whole tokens in text, and returns what lies behind the last.
func (c *client) countTokens(text []byte) (n int, rest []byte, err error) {
	now := time.Now().UnixNano()
	for {
		i := bytes.Index(text, tokenMark)
		stamp := i + len(tokenMark) - 1
		if i < 0 || stamp+stampDigits > len(text) {
			return n, text, nil
		}
		n++
		if c.all.count.Load() {
			c.units++
			if c.units%transitEvery == 0 {
				written, err := strconv.ParseInt(string(text[stamp:stamp+stampDigits]), 10, 64)
				if err != nil {
					return n, nil, fmt.Errorf("a token that was torn: %w", err)
				}
				c.transit = append(c.transit, now-written)
			}
		}
		text = text[stamp+stampDigits:]
	}
}

// finish stops the clients and sums up what they saw.
func (c *clients) finish() (units, answers, cut int64, transit []int64) {
	c.stop.Store(true)
	c.cancel()
	c.ended.Wait()
	for _, one := range c.each {
		units, answers, cut = units+one.units, answers+one.answers, cut+one.cut
		transit = append(transit, one.transit...)
	}
	slices.Sort(transit)
	return units, answers, cut, transit
}
