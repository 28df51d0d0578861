package gpu

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	faultsVersion = 1
	// MostFaults is how many bytes Append appends at the most.
	MostFaults = 512
)

// Bits of the record: of the whole, and of an Xid, whose lowest two are the number of its incidents.
const (
	failedBit, obeyedBit, noneBit = 1, 2, 4
	notedBit, restartsBit         = 4, 8
)

// Append appends all that has to outlive the sidecar: a version, flags, what the state is, and of each Xid when it was told, the latest
// first, as many as there is room for. Numbers are uvarints; times are milliseconds, one more than they are if there may be none.
func (f *Faults) Append(b []byte) []byte {
	begin := len(b)
	var flags byte
	for bit, is := range map[byte]bool{failedBit: f.failed, obeyedBit: f.obeyed, noneBit: f.none} {
		if is {
			flags |= bit
		}
	}
	b = append(b, faultsVersion, flags, byte(f.halt.cause), byte(f.recovery))
	for _, n := range []uint64{
		ms(f.now), f.halt.xid, ms(f.halt.since), orNone(f.pending), orNone(f.killed), orNone(f.deadline), f.waiting,
	} {
		b = binary.AppendUvarint(b, n)
	}
	latest := slices.SortedFunc(maps.Keys(f.xids), func(x, y uint64) int {
		return cmp.Or(cmp.Compare(f.xids[y].last, f.xids[x].last), cmp.Compare(x, y))
	})
	for _, xid := range latest {
		s := f.xids[xid]
		one := binary.AppendUvarint(nil, xid)
		one = binary.AppendUvarint(one, uint64(s.count))
		one = binary.AppendUvarint(one, ms(s.last))
		flags := byte(len(s.incidents))
		if s.noted {
			flags |= notedBit
		}
		if s.restarts {
			flags |= restartsBit
		}
		one = append(one, flags)
		for _, i := range s.incidents {
			one = binary.AppendUvarint(one, ms(s.last-i))
		}
		if len(b)-begin+len(one) > MostFaults {
			break
		}
		b = append(b, one...)
	}
	return b
}

func ms(t time.Duration) uint64 { return uint64(t / time.Millisecond) }

func orNone(t time.Duration) uint64 {
	if t < 0 {
		return 0
	}
	return ms(t) + 1
}

// ReadFaults reads what Append wrote, all of b.
func ReadFaults(r FaultRules, b []byte) (*Faults, error) {
	d := decoder{b: b}
	f := NewFaults(r)
	if len(b) > MostFaults {
		return nil, fmt.Errorf("read faults: %d bytes", len(b))
	}
	if v := d.byte(); d.err == nil && v != faultsVersion {
		return nil, fmt.Errorf("read faults: version %d, want %d", v, faultsVersion)
	}
	flags := d.byte()
	f.failed, f.obeyed, f.none = flags&failedBit != 0, flags&obeyedBit != 0, flags&noneBit != 0
	f.halt.cause, f.recovery = cause(d.byte()), Recovery(d.byte())
	f.now = d.time(longest)
	f.halt.xid, f.halt.since = d.number(), d.time(f.now)
	f.pending, f.killed, f.deadline = d.orNone(f.now), d.orNone(f.now), d.orNone(f.now+contained)
	f.waiting = d.number()
	d.must(flags < 2*noneBit && f.halt.cause < causes && f.recovery <= recoverOther)
	for d.err == nil && len(d.b) > 0 {
		xid := d.number()
		s := &seen{count: int(d.upTo(1 << 62)), last: d.time(f.now)}
		flags := d.byte()
		s.noted, s.restarts = flags&notedBit != 0, flags&restartsBit != 0
		for range flags & (notedBit - 1) {
			ago := d.time(min(repeats, s.last))
			s.incidents = append(s.incidents, s.last-ago)
		}
		d.must(f.xids[xid] == nil && flags < 2*restartsBit && slices.IsSorted(s.incidents))
		f.xids[xid] = s
	}
	if d.err != nil {
		return nil, fmt.Errorf("read faults: %w", d.err)
	}
	return f, nil
}

// longest is as long as times may be, some 140 years.
const longest = time.Duration(1 << 62)

// decoder reads until the first error, and zeros after that.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) must(ok bool) {
	if !ok && d.err == nil {
		d.err = errors.New("what is written makes no sense")
	}
	if d.err != nil {
		d.b = nil
	}
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.must(false)
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.b)
	if d.must(size > 0); d.err != nil {
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) upTo(most uint64) uint64 {
	n := d.number()
	if d.must(n <= most); d.err != nil {
		return 0
	}
	return n
}

func (d *decoder) time(most time.Duration) time.Duration {
	return time.Duration(d.upTo(ms(most))) * time.Millisecond
}

func (d *decoder) orNone(most time.Duration) time.Duration {
	if n := d.upTo(ms(most) + 1); n > 0 {
		return time.Duration(n-1) * time.Millisecond
	}
	return -1
}
