package check

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"time"
)

// What a sidecar and its worker print goes to a file, for a person to read when something fails, and for what can be learnt
// in no other way.

// troubles are the lines of the output with which Go's runtime and its race detector report a fault of the program.
func (s *Sidecar) troubles() (lines []string) {
	raw, err := os.ReadFile(s.log.Name())
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.Contains(line, "DATA RACE") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// takeOver is what a runner logs when it has taken over from a dead one.
type takeOver struct {
	Message string           `json:"msg"`
	Took    logged           `json:"took"`
	Found   map[string]int64 `json:"found"` // what it had to mend
}

// logged is a time.Duration as a log has it, as text.
type logged time.Duration

// UnmarshalText reads what time.Duration prints.
func (l *logged) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*l = logged(d)
	return err
}

// takeOvers are the log's, in order.
func (s *Sidecar) takeOvers() (all []takeOver) {
	raw, err := os.ReadFile(s.log.Name())
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(raw) {
		var t takeOver
		if json.Unmarshal(line, &t) == nil && t.Message == "took over" {
			all = append(all, t)
		}
	}
	return all
}

// LastLines is the end of what sidecar and worker printed.
func (s *Sidecar) LastLines() string { return lastLines(s.output(), 20) }

// output is all that it printed, and its worker.
func (s *Sidecar) output() []byte {
	raw, err := os.ReadFile(s.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return raw
}

func lastLines(raw []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
