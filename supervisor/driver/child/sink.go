package child

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// sink writes lines to a writer that may be slow or stand still, and never lets whoever brings them wait: what has no
// room is dropped, and the writer is told how much when it goes on.
type sink struct {
	to   io.Writer
	wake chan struct{} // one slot: there is something, or closed is set
	done chan struct{} // closed when run has returned

	mu      sync.Mutex // guards what follows
	waiting []byte     // whole lines
	dropped int        // since the writer was last told
	lost    int64      // dropped in all
	closed  bool
}

// mostWaiting bounds what waits for a slow writer.
const mostWaiting = 256 << 10

// closePatience is how long close waits for a slow writer.
const closePatience = time.Second

func newSink(to io.Writer) *sink {
	return &sink{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// put takes one line with its end.
func (s *sink) put(line []byte) {
	s.mu.Lock()
	if len(s.waiting)+len(line) > mostWaiting {
		s.dropped++
		s.lost++
	} else {
		s.waiting = append(s.waiting, line...)
	}
	s.mu.Unlock()
	s.poke()
}

func (s *sink) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run writes until close, and then what still waits. An error of the writer costs the lines that it was given.
func (s *sink) run() {
	defer close(s.done)
	var writing []byte
	for range s.wake {
		s.mu.Lock()
		writing, s.waiting = s.waiting, writing[:0]
		dropped, closed := s.dropped, s.closed
		s.dropped = 0
		s.mu.Unlock()

		if dropped > 0 {
			writing = fmt.Appendf(writing, "autoglm-sidecar: %d lines of the worker's output dropped here: they could not be written as fast\n", dropped)
		}
		if len(writing) > 0 {
			_, _ = s.to.Write(writing)
		}
		if closed {
			return
		}
	}
}

// close ends run, and leaves it to itself where the writer stands still.
func (s *sink) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.poke()
	select {
	case <-s.done:
	case <-time.After(closePatience):
	}
}

// droppedLines is how many lines were never written.
func (s *sink) droppedLines() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}
