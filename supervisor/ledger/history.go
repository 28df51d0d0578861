package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
)

// History returns the last n restarts, newest first; all there are if n is 0 or less. Lines that are damaged are left
// out.
func (l *Ledger) History(n int) ([]Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	restarts, err := l.history(n)
	if err != nil {
		return restarts, fmt.Errorf("read the ledger: %w", err)
	}
	return restarts, nil
}

// LastID returns the ID of the newest restart; 0: there is none. A sidecar that lost its memory counts on from there.
func (l *Ledger) LastID() (int64, error) {
	newest, err := l.History(1)
	if len(newest) == 0 {
		return 0, err
	}
	return newest[0].ID, nil
}

func (l *Ledger) history(n int) ([]Entry, error) { return read(l.dir, n) }

// Read is History for those who only look: it changes nothing in the directory, and needs no sidecar. Where there is no ledger
// the error is fs.ErrNotExist.
func Read(dir string, n int) ([]Entry, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	restarts, err := read(dir, n)
	if err != nil {
		return restarts, fmt.Errorf("read the ledger: %w", err)
	}
	return restarts, nil
}

func read(dir string, n int) ([]Entry, error) {
	var restarts []Entry
	var before fs.FileInfo // of the file that was read
	for _, name := range []string{currentName, olderName} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return restarts, err
		}
		info, err := f.Stat()
		if err == nil && (before == nil || !os.SameFile(before, info)) { // else it was made the older one meanwhile
			restarts, err = collect(restarts, f, info.Size(), n)
		}
		before = info
		f.Close()
		if err != nil || n > 0 && len(restarts) == n {
			return restarts, err
		}
	}
	return restarts, nil
}

func collect(restarts []Entry, f io.ReaderAt, size int64, n int) ([]Entry, error) {
	for line, err := range backwards(f, size) {
		if err != nil {
			return restarts, err
		}
		if e, ok := decode(line); ok {
			restarts = append(restarts, e)
		}
		if n > 0 && len(restarts) == n {
			break
		}
	}
	return restarts, nil
}

// blockSize is how much is read at a time.
const blockSize = 64 << 10

// backwards gives the lines of a file from the last to the first, without their ends. A line is valid until the next.
func backwards(f io.ReaderAt, size int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var rest []byte // the beginning of what has been read: the end of a line that begins further up
		for at := size; at > 0; {
			block := make([]byte, min(blockSize, at), min(blockSize, at)+int64(len(rest)))
			at -= int64(len(block))
			if _, err := f.ReadAt(block, at); err != nil {
				yield(nil, err)
				return
			}
			rest = append(block, rest...)
			for {
				i := bytes.LastIndexByte(rest, '\n')
				if i < 0 {
					break
				}
				if line := rest[i+1:]; len(line) > 0 && !yield(line, nil) {
					return
				}
				rest = rest[:i]
			}
		}
		if len(rest) > 0 {
			yield(rest, nil)
		}
	}
}

// wholeLines returns how many bytes of the file, from its beginning, are lines that have their end.
func wholeLines(f io.ReaderAt, size int64) (int64, error) {
	block := make([]byte, min(blockSize, size))
	for at := size; at > 0; {
		block = block[:min(int64(len(block)), at)]
		at -= int64(len(block))
		if _, err := f.ReadAt(block, at); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(block, '\n'); i >= 0 {
			return at + int64(i) + 1, nil
		}
	}
	return 0, nil
}
