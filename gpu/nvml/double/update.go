package double

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/gpu"
)

// Owner is a process of this machine. The start time tells it from a later one with its PID.
type Owner struct {
	PID   int
	Start uint64 // in ticks since the machine's boot: field 22 of /proc/PID/stat
}

// OwnerOf is the process that has the PID now. One that has ended is none, even if nobody has waited for it yet.
func OwnerOf(pid int) (Owner, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Owner{}, fmt.Errorf("read the start time of pid %d: %w", pid, err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from field 3 on: the name may have anything in it
	if len(fields) < 20 {
		return Owner{}, fmt.Errorf("read the start time of pid %d: stat is %q", pid, stat)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return Owner{}, fmt.Errorf("read the start time of pid %d: %w", pid, fs.ErrNotExist)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Owner{}, fmt.Errorf("read the start time of pid %d: %w", pid, err)
	}
	return Owner{PID: pid, Start: start}, nil
}

// Lives says whether the process is still there.
func (o Owner) Lives() bool {
	there, err := OwnerOf(o.PID)
	return err == nil && there == o
}

// Used is what is taken of the memory as the library says it, without the driver's own; of a GPU that is divided, without its
// instances'.
func (m Memory) Used() gpu.Bytes {
	sum := m.Unowned
	for _, p := range m.Processes {
		sum += max(p.Bytes, 0)
	}
	now := monotonic()
	for _, o := range m.Owned {
		if o.Lives() || now < o.Seen+o.Release {
			sum += o.Bytes
		}
	}
	return sum
}

// Update changes the state in a file, which need not be there yet. Of all who use it one changes it at a time: they take turns by a
// lock on a file beside it. Each owner that lives is noted as seen, also one that change adds, and what the driver has back of those
// that don't is gone when change is called. An error of change is returned as it is, and leaves the file as it was.
func Update(path string, change func(*State) error) error {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("lock the double's state: %w", err)
	}
	defer lock.Close() // unlocks
	for {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock the double's state: %w", err)
	}
	s, err := Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for m := range s.memories() {
		m.Owned = slices.DeleteFunc(m.Owned, func(o Owned) bool { return !o.Lives() && monotonic() >= o.Seen+o.Release })
	}
	if err := change(&s); err != nil {
		return err
	}
	for m := range s.memories() {
		for i := range m.Owned {
			if o := &m.Owned[i]; o.Lives() {
				o.Seen = monotonic()
			}
		}
	}
	return s.Write(path)
}

// memories are those of all GPUs and instances.
func (s *State) memories() iter.Seq[*Memory] {
	return func(yield func(*Memory) bool) {
		for i := range s.GPUs {
			g := &s.GPUs[i]
			if !yield(&g.Memory) {
				return
			}
			for j := range g.Instances {
				if !yield(&g.Instances[j].Memory) {
					return
				}
			}
		}
	}
}

// monotonic is the machine's clock that never jumps, in whole milliseconds: the library reads the same one.
func monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // no Linux lacks this clock
	}
	return time.Duration(t.Nano()).Truncate(time.Millisecond)
}
