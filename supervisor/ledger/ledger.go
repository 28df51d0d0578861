// Package ledger keeps the record of every restart on disk, so that each can be explained a week later. It is a file of
// JSON lines that jq reads, one line a restart, each with a checksum of its own. A line is on disk before Append returns;
// if the machine goes down in the middle of one, that line alone is lost, and is cut off when the ledger is next opened.
// The file is bounded: when it is half full it becomes the old one, and the one before that goes.
//
// A disk that is full, read-only or gone is no reason for the sidecar to do anything but its work: Append returns the
// error and tries again at the next restart. So it is with a directory that another sidecar has locked. A directory
// that was removed is made anew.
package ledger

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"autoglm-sidecar/supervisor"

	"golang.org/x/sys/unix"
)

// The files of a ledger, in its directory.
const (
	currentName = "restarts.jsonl"
	olderName   = "restarts.1.jsonl"
	lockName    = "lock" // empty, and never changed
)

// maxBytes bounds both files together: some 10,000 restarts, of which the newer half always stays.
const maxBytes = 10 << 20

// Ledger implements supervisor.Journal. Its methods may be called at the same time; no other process writes its files
// while it holds the lock.
type Ledger struct {
	// Memory gives, with a restart that is to be kept, the memory of the life that it replaced: oldest minute first, at most the last
	// mostMinutes of mostGPUs are kept. It is called by Append, before anything is locked. It is set before the first Append; nil: none is kept.
	Memory func(from supervisor.Life) []Curve

	dir        string
	half       int64 // how large one file may grow
	streamHalf int64 // likewise, of streams
	log        *slog.Logger

	mu   sync.Mutex         // guards what follows
	lock *os.File           // locked; nil if and only if file is
	file *os.File           // the current one; nil: it could not be opened, and is tried again
	size int64              // of the current one, whole lines all of them
	last supervisor.Restart // the newest; ID 0: there is none

	choices []*chosen // of the streams of the last few restarts
}

var _ supervisor.Journal = (*Ledger)(nil)

// Open returns the ledger in the directory, which is made if it is missing. A directory that can't be written, or not
// now, is logged and is no error.
func Open(dir string, log *slog.Logger) (*Ledger, error) {
	return open(dir, log, maxBytes)
}

func open(dir string, log *slog.Logger, bound int64) (*Ledger, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open the ledger: %q is no absolute path", dir)
	}
	l := &Ledger{dir: dir, half: bound / 2, streamHalf: maxStreamBytes / 2, log: log}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		log.Warn("restarts can't be recorded for now", "error", err)
	}
	return l, nil
}

// leastFree is how many bytes have to be free for a restart to be recorded.
const leastFree = 64 << 10

// Check says why a restart could not be recorded now, nil if it could. What was closed or removed is opened anew.
func (l *Ledger) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(l.file.Fd()), &fs); err == nil && int64(fs.Bavail)*fs.Bsize < leastFree { // some file systems don't say
		return fmt.Errorf("%s: %w", l.dir, unix.ENOSPC)
	}
	return nil
}

// Close closes the ledger.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.close()
}

// close closes what is open; the next Append opens it anew.
func (l *Ledger) close() error {
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Close(), l.lock.Close())
	l.file, l.lock = nil, nil
	return err
}

// Append keeps one restart; on return it is on disk. The same restart again changes nothing.
func (l *Ledger) Append(r supervisor.Restart) error {
	line, err := encode(l.entry(r))
	if err != nil {
		return fmt.Errorf("record restart %d: %w", r.ID, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(r, line); err != nil {
		return fmt.Errorf("record restart %d: %w", r.ID, err)
	}
	return nil
}

func (l *Ledger) append(r supervisor.Restart, line []byte) error {
	if err := l.open(); err != nil {
		return err
	}
	if isSame(l.last, r) {
		return nil
	}
	if l.size > 0 && l.size+int64(len(line)) > l.half {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	_, err := l.file.Write(line)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		l.takeBack()
		return err
	}
	l.size += int64(len(line))
	l.last = r
	return nil
}

// sameWithin is how far apart two runners may think one restart began: each reckons it from its own wall clock.
const sameWithin = time.Second

// isSame reports whether both are one restart. IDs begin anew where a sidecar lost its memory, so they are not enough.
func isSame(a, b supervisor.Restart) bool {
	return a.ID != 0 && a.ID == b.ID && a.Begun.Sub(b.Begun).Abs() < sameWithin
}

// open opens the current file if it isn't, and cuts off what is no whole line. A file that is no longer found where it
// was, since somebody removed or moved it, is opened anew: what is written to it nobody would read.
func (l *Ledger) open() error {
	if l.file != nil {
		if isAt(l.lock, l.path(lockName)) && isAt(l.file, l.path(currentName)) {
			return nil
		}
		l.log.Warn("the ledger was removed while it was open; it begins anew", "directory", l.dir)
		l.close()
	}
	if err := os.MkdirAll(l.dir, 0o750); err != nil {
		return err
	}
	lock, err := takeLock(l.path(lockName))
	if err != nil {
		return err
	}
	f, err := l.openFile()
	if err != nil {
		lock.Close()
		return err
	}
	l.lock, l.file = lock, f
	return nil
}

// openFile opens the current file, ready to be appended to.
func (l *Ledger) openFile() (*os.File, error) {
	f, err := os.OpenFile(l.path(currentName), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	if err := l.adopt(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// adopt makes a file that was just opened fit to be appended to.
func (l *Ledger) adopt(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", f.Name())
	}
	whole, err := wholeLines(f, info.Size())
	if err != nil {
		return err
	}
	if whole < info.Size() {
		if err := errors.Join(f.Truncate(whole), f.Sync()); err != nil {
			return err
		}
		l.log.Warn("cut off a restart that was not recorded to its end", "file", f.Name(), "bytes", info.Size()-whole)
	}
	if err := syncDir(l.dir); err != nil { // the file may be new
		return err
	}
	l.size = whole
	l.last = supervisor.Restart{}
	newest, err := l.history(1)
	if len(newest) > 0 {
		l.last = newest[0].Restart
	}
	return err
}

// rotate makes the current file the older one.
func (l *Ledger) rotate() error {
	if err := os.Rename(l.path(currentName), l.path(olderName)); err != nil {
		return err
	}
	f, err := l.openFile()
	if err != nil {
		l.close()
		return err
	}
	l.file.Close() // all of it was synced
	l.file = f
	return nil
}

// takeBack removes what a failed Append left. Where that fails too, the next Append opens the file anew and repairs it.
func (l *Ledger) takeBack() {
	if l.file.Truncate(l.size) != nil {
		l.close()
	}
}

func (l *Ledger) path(name string) string { return filepath.Join(l.dir, name) }

// ErrInUse is the error of a directory that another sidecar records in.
var ErrInUse = errors.New("another sidecar records its restarts there; write another --state")

// takeLock opens the file and locks it until it is closed. The lock is of the old kind (fcntl(2), F_SETLK), which belongs
// to a table of descriptors. A keeper shares its own with all its runners and leaves open what a dead one had open: a
// lock by flock would stay the dead one's, this one is the next one's, too.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if err == unix.EAGAIN || err == unix.EACCES {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, ErrInUse)
	}
	return f, nil // a file system that has no locks is no reason to record nothing
}

// isAt reports whether the open file is the one that the path leads to.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
