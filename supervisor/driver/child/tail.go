package child

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Tail keeps the last bytes that a worker printed. Its memory is given to it, so that it can lie where it outlives us.
type Tail struct {
	mu   sync.Mutex // guards ring; the memory has no other owner
	ring []byte
	end  *int64 // bytes ever written; byte number n is at n % len(ring)
}

// NewTail keeps as much as the ring holds and counts in end, both of which may be filled already by an earlier runner.
func NewTail(ring []byte, end *int64) *Tail { return &Tail{ring: ring, end: end} }

// NewHeapTail keeps size bytes in memory that dies with us.
func NewHeapTail(size int) *Tail { return NewTail(make([]byte, size), new(int64)) }

// Append adds bytes. Killed in its middle, it loses them, and at most as many of the oldest.
func (t *Tail) Append(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := atomic.LoadInt64(t.end)
	if skip := len(p) - len(t.ring); skip > 0 {
		p, end = p[skip:], end+int64(skip)
	}
	at := int(end % int64(len(t.ring)))
	n := copy(t.ring[at:], p)
	copy(t.ring, p[n:])
	atomic.StoreInt64(t.end, end+int64(len(p)))
}

// Text is all that is kept, oldest first; its first line may be the end of one.
func (t *Tail) Text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	end, size := atomic.LoadInt64(t.end), int64(len(t.ring))
	if end <= size {
		return string(t.ring[:max(end, 0)])
	}
	at := end % size
	return string(t.ring[at:]) + string(t.ring[:at])
}

// Lines returns the last n lines, oldest first, without their ends and without empty ones. A progress bar that is
// painted over and over (CR) is the line that it shows last.
func (t *Tail) Lines(n int) []string { return lastLines(t.Text(), n) }

func lastLines(text string, n int) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		line = strings.TrimSpace(line[strings.LastIndexByte(line, '\r')+1:])
		if line != "" {
			lines = append(lines, printable(line))
		}
	}
	return lines[max(0, len(lines)-n):]
}

// longestLine is how much of a line is shown in an error.
const longestLine = 400

// printable makes a worker's line fit for a terminal and a log: no control bytes, no broken UTF-8, not too long.
func printable(line string) string {
	if len(line) > longestLine {
		line = line[:longestLine] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "?"))
}
