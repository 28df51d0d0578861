package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// grid is how finely the worker paces its tokens.
const grid = time.Millisecond

// question is what a client asks for, beside what a chat has.
type question struct {
	Stream bool `json:"stream"`
	Tokens int  `json:"max_tokens"`
	Rate   int  `json:"rate"` // tokens a second, a divisor of 1000; 0: as fast as they go
}

// An event has vLLM's shape and length. Its text is the time at which it was written, in Unix nanoseconds.
const (
	eventHead = `data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1700000000,` +
		`"model":"bench","choices":[{"index":0,"delta":{"content":"`
	eventTail = `"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	lastEvent = `data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1700000000,` +
		`"model":"bench","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"length"}]}` + "\n\ndata: [DONE]\n\n"
	stampDigits = 19
	eventBytes  = len(eventHead) + stampDigits + len(eventTail)

	streamHead = "HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
	plainBody  = `{"id":"cmpl-0123456789abcdef","object":"text_completion","created":1700000000,"model":"bench","choices":[{"index":0,"text":" tap","finish_reason":"length"}]}`
)

var plainAnswer = fmt.Sprintf("HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", len(plainBody), plainBody)

// appendEvent appends one token as one chunk.
func appendEvent(b []byte) []byte {
	b = fmt.Appendf(b, "%x\r\n", eventBytes)
	b = append(b, eventHead...)
	b = strconv.AppendInt(b, time.Now().UnixNano(), 10)
	b = append(b, eventTail...)
	return append(b, "\r\n"...)
}

// serveWorker serves until it is killed.
func serveWorker(listen string) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	p := newPacer()
	go p.run()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go answerAll(c, p)
	}
}

// answerAll answers what comes over one connection.
func answerAll(c net.Conn, p *pacer) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var q question
		if len(body) > 0 && json.Unmarshal(body, &q) != nil {
			return
		}
		if !answer(c, p, q) || r.Close {
			return
		}
	}
}

func answer(c net.Conn, p *pacer, q question) bool {
	if !q.Stream {
		_, err := io.WriteString(c, plainAnswer)
		return err == nil
	}
	if _, err := io.WriteString(c, streamHead); err != nil {
		return false
	}
	if q.Rate > 0 {
		if !p.send(c, q) {
			return false
		}
	} else if !flood(c, q.Tokens) {
		return false
	}
	_, err := fmt.Fprintf(c, "%x\r\n%s\r\n0\r\n\r\n", len(lastEvent), lastEvent)
	return err == nil
}

// flood writes tokens as fast as they are taken.
func flood(c net.Conn, tokens int) bool {
	var b []byte
	for sent := range tokens {
		b = appendEvent(b)
		if len(b) >= 8<<10 || sent == tokens-1 {
			if _, err := c.Write(b); err != nil {
				return false
			}
			b = b[:0]
		}
	}
	return true
}

// pacer writes the tokens of all paced streams from one goroutine: one each would cost a wake-up a token.
type pacer struct {
	mu    sync.Mutex // guards what follows
	slots map[int][]*paced
	next  int // where the next stream begins in its period
	now   int // ticks of the grid so far
}

type paced struct {
	conn   net.Conn
	left   int
	period int // in ticks of the grid
	done   chan bool
}

func newPacer() *pacer { return &pacer{slots: map[int][]*paced{}} }

// send writes a stream's tokens at its rate, and says whether the client took them all.
func (p *pacer) send(c net.Conn, q question) bool {
	s := &paced{conn: c, left: q.Tokens, period: int(time.Second/grid) / q.Rate, done: make(chan bool, 1)}
	p.mu.Lock()
	p.next = (p.next + 7) % s.period // spread over the period
	at := p.now + 1 + p.next
	p.slots[at] = append(p.slots[at], s)
	p.mu.Unlock()
	return <-s.done
}

func (p *pacer) run() {
	start := time.Now()
	var b []byte
	for {
		time.Sleep(time.Until(start.Add(time.Duration(p.now+1) * grid)))
		for due := int(time.Since(start) / grid); p.now < due; {
			p.mu.Lock()
			p.now++
			turn := p.slots[p.now]
			delete(p.slots, p.now)
			p.mu.Unlock()
			for _, s := range turn {
				b = appendEvent(b[:0])
				if _, err := s.conn.Write(b); err != nil {
					s.done <- false
					continue
				}
				if s.left--; s.left == 0 {
					s.done <- true
					continue
				}
				p.mu.Lock()
				p.slots[p.now+s.period] = append(p.slots[p.now+s.period], s)
				p.mu.Unlock()
			}
		}
	}
}

// startWorker starts the worker as a process of its own.
func (b *bench) startWorker(ctx context.Context) (p *process, address string, err error) {
	self, address, err := selfAt()
	if err != nil {
		return nil, "", err
	}
	p, err = b.start(ctx, "worker", address, []string{self, roleWorker, address})
	return p, address, err
}
