package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
	"unicode/utf8"
)

// The machine's record: what a runner leaves to the next.
//
//	version (1 byte) | fields, in the order of record.machine | CRC-32 of all that (4 bytes)
//
// Integers are unsigned varints, texts a length and their bytes. The order is the format: a change to it is a new version.

// MaxRecord bounds a record in bytes. It is kept by what is written: texts are cut short, counts stop at 2^31-1, and only the
// crashes of the last hour matter.
const MaxRecord = 2304

// RecordVersion is of the records that this program writes and reads.
const RecordVersion = 3

const (
	maxError  = 200 // bytes of LastError
	maxDetail = 96  // of Restart.Detail
	maxWhy    = 160 // of Restart.Why
	maxBy     = 32  // of Restart.By
)

// AppendRecord appends the machine's record to b.
func (m *Machine) AppendRecord(b []byte) []byte {
	noted := *m
	if m.State == Finding {
		noted.State, noted.Deadline = m.Noted, m.NotedDeadline
	}
	noted.LastError = clip(m.LastError, maxError)
	w := record{b: []byte{RecordVersion}, writing: true}
	w.machine(&noted)
	return append(b, sealed(w.b)...)
}

// sealed appends the checksum.
func sealed(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }

// ReadRecord returns the machine of a record, without Limits, before its boot.
func ReadRecord(b []byte) (Machine, error) {
	var m Machine
	const frame = 1 + 4
	if len(b) < frame || len(b) > MaxRecord {
		return m, fmt.Errorf("read the machine's record: %d bytes", len(b))
	}
	body := len(b) - 4
	if crc32.ChecksumIEEE(b[:body]) != binary.LittleEndian.Uint32(b[body:]) {
		return m, errors.New("read the machine's record: its checksum is wrong")
	}
	if b[0] != RecordVersion {
		return m, fmt.Errorf("read the machine's record: version %d, this program knows %d", b[0], RecordVersion)
	}
	r := record{b: b[1:body]}
	r.machine(&m)
	if r.bad || len(r.b) != 0 {
		return Machine{}, errors.New("read the machine's record: its fields make no sense")
	}
	return m, nil
}

// record is one pass over the fields, in either direction, so that writing and reading can't differ.
type record struct {
	b       []byte // written so far, or left to read
	writing bool
	bad     bool
}

func (r *record) machine(m *Machine) {
	small(r, &m.State, numStates)
	r.bad = r.bad || m.State == Finding
	long(r, &m.Life)
	count(r, &m.PID)
	long(r, &m.Since)
	long(r, &m.Deadline)
	small(r, &m.Want, numWants)
	r.word(&m.Stop)
	r.word(&m.Drain)
	r.freeze(&m.Freeze)
	for _, flag := range []*bool{&m.Hurry, &m.Now, &m.MayCut, &m.Hasty, &m.Overdue, &m.Failed, &m.Occupied, &m.Unfree, &m.ByBar} {
		r.flag(flag)
	}
	if m.Occupied {
		small(r, &m.GivenUp, numStates)
		r.bad = r.bad || m.GivenUp == Finding
	}
	r.restart(&m.Restart)
	count(r, &m.Barrier)
	long(r, &m.Launched)
	long(r, &m.Served)
	long(r, &m.Warmup)
	count(r, &m.Failures)
	long(r, &m.Backoff)
	r.crashes(&m.Crashes)
	r.uint(&m.Seed, math.MaxUint64)
	long(r, &m.Restarts)
	for i := range m.Counts {
		r.sparse(m.Counts[i][:])
	}
	r.restart(&m.Unrecorded)
	r.text(&m.LastError, maxError)
	r.text(&m.Barred, maxWhy)
	long(r, &m.ErrorAt)
	r.sparse(m.Would[:])
}

func (r *record) restart(s *Restart) {
	long(r, &s.ID)
	if s.ID == 0 {
		return
	}
	long(r, &s.Revision)
	small(r, &s.Reason, 1<<8)
	r.text(&s.By, maxBy)
	r.text(&s.Why, maxWhy)
	long(r, &s.From)
	long(r, &s.To)
	count(r, &s.Starts)
	count(r, &s.Joined)
	long(r, &s.Asked)
	long(r, &s.Took)
	for i := range s.Spent {
		long(r, &s.Spent[i])
	}
	count(r, &s.Open)
	count(r, &s.InTheWay)
	small(r, &s.Result, len(resultNames))
	r.text(&s.Detail, maxDetail)
}

// crashes keeps those of the hour before the newest, in whole seconds: the newest, then how much older each next one is.
func (r *record) crashes(c *Crashes) {
	n := uint64(c.since(c[0] - time.Hour))
	r.uint(&n, MaxCrashes)
	newer := uint64(0)
	for i := range n {
		at := uint64(max(c[i]/time.Second, 1))
		field := at
		if i > 0 {
			at = min(at, newer)
			field = newer - at
		}
		r.uint(&field, math.MaxInt64/uint64(time.Second))
		if i > 0 {
			at = newer - field
		} else {
			at = field
		}
		r.bad = r.bad || at == 0 || i > 0 && field > newer-1
		if r.bad {
			return
		}
		if !r.writing {
			c[i] = time.Duration(at) * time.Second
		}
		newer = at
	}
}

func (r *record) word(w *Word) {
	long(r, &w.At)
	if w.At != 0 {
		r.text(&w.By, maxBy)
	}
}

func (r *record) freeze(f *Freeze) {
	long(r, &f.Until)
	if f.Until == 0 {
		return
	}
	long(r, &f.At)
	r.flag(&f.All)
	r.text(&f.By, maxBy)
	r.text(&f.Why, maxWhy)
}

// sparse keeps the counts that are not 0, each behind how many that are it comes after.
func (r *record) sparse(counts []uint32) {
	n := uint64(0)
	for _, c := range counts {
		if c != 0 {
			n++
		}
	}
	r.uint(&n, uint64(len(counts)))
	at := uint64(0)
	for range n {
		skip := uint64(0)
		for r.writing && counts[at+skip] == 0 {
			skip++
		}
		r.uint(&skip, uint64(len(counts)))
		if at += skip; r.bad || at >= uint64(len(counts)) {
			r.bad = true
			return
		}
		count(r, &counts[at])
		at++
	}
}

// long is a number or a time that is never negative.
func long[T ~int64](r *record, v *T) {
	u := uint64(max(*v, 0))
	r.uint(&u, math.MaxInt64)
	if !r.writing {
		*v = T(u)
	}
}

// count is a number that stops at 2^31-1.
func count[T ~int | ~uint32](r *record, v *T) {
	u := uint64(min(max(*v, 0), math.MaxInt32))
	r.uint(&u, math.MaxInt32)
	if !r.writing {
		*v = T(u)
	}
}

// small is one of a few values: it must be below n.
func small[T ~uint8](r *record, v *T, n int) {
	u := uint64(*v)
	r.uint(&u, uint64(n-1))
	if !r.writing {
		*v = T(u)
	}
}

func (r *record) flag(v *bool) {
	var u uint64
	if *v {
		u = 1
	}
	r.uint(&u, 1)
	if !r.writing {
		*v = u == 1
	}
}

func (r *record) text(v *string, most int) {
	s := clip(*v, most)
	n := uint64(len(s))
	r.uint(&n, uint64(most))
	switch {
	case r.writing:
		r.b = append(r.b, s...)
	case r.bad || n > uint64(len(r.b)):
		r.bad = true
	default:
		*v, r.b = string(r.b[:n]), r.b[n:]
	}
}

func (r *record) uint(v *uint64, most uint64) {
	if r.writing {
		r.b = binary.AppendUvarint(r.b, *v)
		return
	}
	u, n := binary.Uvarint(r.b)
	if n <= 0 || u > most || r.bad {
		r.bad = true
		*v = 0
		return
	}
	*v, r.b = u, r.b[n:]
}

// clip cuts s to at most n bytes, between two characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
