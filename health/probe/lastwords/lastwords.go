// Package lastwords is about a program that has ended: how it did, and the last line that it printed.
package lastwords

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unicode"
)

const (
	// mostOutput is how much of a program's output is kept: a line of it is shown.
	mostOutput = 4 << 10
	// mostLine is how much of that line is shown.
	mostLine = 120
)

// Ended says how a program ended: "exited 1", or "killed by signal 9".
func Ended(s *os.ProcessState) string {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Sprintf("killed by signal %d", status.Signal())
	}
	return fmt.Sprintf("exited %d", s.ExitCode())
}

// Tail keeps the last bytes that were written to it. Its zero value is ready. It is for one goroutine at a time.
type Tail struct{ kept []byte }

// Write takes everything.
func (t *Tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-mostOutput):]...)
	if len(t.kept) > mostOutput {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-mostOutput:]...)
	}
	return len(p), nil
}

// Line is the last line that has anything in it, fit to be shown; may be empty.
func (t *Tail) Line() string {
	text := bytes.TrimSpace(t.kept)
	text = text[bytes.LastIndexByte(text, '\n')+1:]
	return Fit(string(text))
}

// Fit is a line fit to be shown: short, and without what a terminal would obey.
func Fit(line string) string {
	shown := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\uFFFD' {
			return -1
		}
		return r
	}, line)
	if len(shown) > mostLine {
		shown = strings.ToValidUTF8(shown[:mostLine], "") + " ..."
	}
	return shown
}
