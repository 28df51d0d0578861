package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"autoglm-sidecar/supervisor"
)

// What a restart did to single streams is kept beside the restarts, in files of the same kind: lines with a checksum each,
// an older and a current half. It is for people, a day later, so it is bounded: of one restart all cut streams up to
// mostCut, and of the others the mostWaited that waited longest. The restart's own line has the counts of all.

const (
	streamsName      = "streams.jsonl"
	olderStreamsName = "streams.1.jsonl"
	maxStreamBytes   = 8 << 20 // of both files: some 20 restarts at their fullest

	mostCut    = 1000
	mostWaited = 100
	// mostWritten bounds the lines of streams that were among the longest waits when they ended, and may be no more.
	mostWritten = 1000
)

// Stream is what a restart did to one stream.
type Stream struct {
	Restart  int64         `json:"restart"` // 0: it was cut before anybody knew that its life had crashed
	Life     int64         `json:"life"`    // that it was on; 0: none
	Request  string        `json:"request"` // its id
	Client   string        `json:"client"`
	Route    string        `json:"route"` // method and path
	Ended    time.Time     `json:"ended"` // or when this was noted, if it was still open
	Age      time.Duration `json:"age_ns"`
	Waited   time.Duration `json:"waited_ns"` // at the gate
	Bytes    int64         `json:"bytes"`     // of its answer that its client got
	Status   int           `json:"status,omitempty"`
	Outcome  string        `json:"outcome"` // "open": it had not ended
	Cause    string        `json:"cause,omitempty"`
	InTheWay bool          `json:"in_the_way,omitempty"` // it kept the restart from going on
}

const outcomeCut = "cut"

// isCut reports whether the stream is among those of which all are kept.
func (s *Stream) isCut() bool { return s.Outcome == outcomeCut || s.InTheWay }

// chosen is what was written of the streams of one restart, or of one life without one.
type chosen struct {
	restart, life int64 // life 0 unless restart is
	cut, written  int
	waits         []time.Duration // the longest, ascending, at most mostWaited
}

// takes decides whether a stream is written, and notes it.
func (c *chosen) takes(s *Stream) bool {
	if s.isCut() {
		c.cut++
		return c.cut <= mostCut
	}
	full := len(c.waits) == mostWaited
	if full && s.Waited <= c.waits[0] || c.written >= mostWritten {
		return false
	}
	if full {
		c.waits = c.waits[1:]
	}
	i, _ := slices.BinarySearch(c.waits, s.Waited)
	c.waits = slices.Insert(c.waits, i, s.Waited)
	c.written++
	return true
}

// AppendStreams keeps what restarts did to some streams; on return it is on disk. The error is as Append's.
func (l *Ledger) AppendStreams(streams []Stream) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.appendStreams(streams); err != nil {
		return fmt.Errorf("record streams: %w", err)
	}
	return nil
}

func (l *Ledger) appendStreams(streams []Stream) error {
	if err := l.open(); err != nil { // and the lock is ours
		return err
	}
	var lines []byte
	for i := range streams {
		if !l.choice(&streams[i]).takes(&streams[i]) {
			continue
		}
		line, err := encodeAs("stream", streams[i])
		if err != nil {
			return err
		}
		lines = append(lines, line...)
	}
	if len(lines) == 0 {
		return nil
	}
	return l.writeStreams(lines)
}

// choice is what was written of the streams of s's restart; after a take-over that is found in the file.
func (l *Ledger) choice(s *Stream) *chosen {
	key := chosen{restart: s.Restart}
	if s.Restart == 0 {
		key.life = s.Life
	}
	for _, c := range l.choices {
		if c.restart == key.restart && c.life == key.life {
			return c
		}
	}
	// What can't be read is only counted anew.
	_ = eachStream(l.dir, func(old *Stream) bool {
		if old.Restart == key.restart && (key.restart != 0 || old.Life == key.life) && s.Ended.Sub(old.Ended) < 24*time.Hour {
			key.takes(old)
		}
		return true
	})
	const remembered = 4 // restarts at a time: the streams of one may end long after it
	l.choices = append(l.choices[max(0, len(l.choices)-remembered+1):], &key)
	return &key
}

// writeStreams appends lines to the current file, which it opens for this alone: it is written seldom.
func (l *Ledger) writeStreams(lines []byte) (err error) {
	f, err := os.OpenFile(l.path(streamsName), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	whole, err := wholeLines(f, info.Size())
	if err != nil {
		return err
	}
	if whole < info.Size() { // the machine went down within a line
		if err := f.Truncate(whole); err != nil {
			return err
		}
	}
	if whole > 0 && whole+int64(len(lines)) > l.streamHalf {
		if err := os.Rename(l.path(streamsName), l.path(olderStreamsName)); err != nil {
			return err
		}
		return l.writeStreams(lines)
	}
	if _, err := f.Write(lines); err != nil {
		return errors.Join(err, f.Truncate(whole))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if whole == 0 {
		return syncDir(l.dir)
	}
	return nil
}

// eachStream gives every line that isn't damaged, the newest first, until more says false.
func eachStream(dir string, more func(*Stream) bool) error {
	for _, name := range []string{streamsName, olderStreamsName} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		goOn, err := eachLine(f, more)
		f.Close()
		if err != nil || !goOn {
			return err
		}
	}
	return nil
}

func eachLine(f *os.File, more func(*Stream) bool) (goOn bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	for line, err := range backwards(f, info.Size()) {
		if err != nil {
			return false, err
		}
		var s Stream
		if decodeAs("stream", bytes.TrimSuffix(line, []byte("\n")), &s) && !more(&s) {
			return false, nil
		}
	}
	return true, nil
}

// StreamsOf returns what is known of the streams that a restart touched: those cut or in its way first, then the others,
// the longest wait first.
func (l *Ledger) StreamsOf(r supervisor.Restart) ([]Stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return readStreams(l.dir, r)
}

// ReadStreams is StreamsOf for those who only look, as Read is.
func ReadStreams(dir string, r supervisor.Restart) ([]Stream, error) { return readStreams(dir, r) }

func readStreams(dir string, r supervisor.Restart) ([]Stream, error) {
	var all []Stream
	seen := map[string]int{} // where in all; a stream may be noted twice at a death of ours, and once while it was in the way
	err := eachStream(dir, func(s *Stream) bool {
		if !s.belongsTo(r) {
			return true
		}
		if i, twice := seen[s.Request]; twice {
			all[i].InTheWay = all[i].InTheWay || s.InTheWay
			return true
		}
		seen[s.Request] = len(all)
		all = append(all, *s)
		return true
	})
	if err != nil {
		return all, fmt.Errorf("read the streams of restart %d: %w", r.ID, err)
	}
	return Longest(all), nil
}

// Longest puts streams into their order, and leaves out those beyond the bounds.
func Longest(all []Stream) []Stream {
	slices.SortStableFunc(all, func(a, b Stream) int {
		if a.isCut() != b.isCut() {
			if a.isCut() {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Waited, a.Waited)
	})
	cut := 0
	for cut < len(all) && all[cut].isCut() {
		cut++
	}
	return slices.Concat(all[:min(cut, mostCut)], all[cut:min(len(all), cut+mostWaited)])
}

// crashSeenFirst is how much sooner a stream may meet the death of its life than the supervisor.
const crashSeenFirst = 5 * time.Second

// belongsTo: by the restart's number, unless an older sidecar had the same one; or by the life whose crash began it.
func (s *Stream) belongsTo(r supervisor.Restart) bool {
	since := s.Ended.Sub(r.Begun)
	if s.Restart != 0 {
		return s.Restart == r.ID && since > -crashSeenFirst
	}
	return s.Life != 0 && s.Life == int64(r.From) && since > -crashSeenFirst && since < max(r.Took, crashSeenFirst)
}
