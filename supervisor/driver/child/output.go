package child

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// output reads what workers print, all lives through one pipe, whatever becomes of it: a worker must never wait for
// us to read. The pipe lies at descriptors that outlive us, both ends, so that our death is no EPIPE to the worker and
// the next runner reads on. What was read goes to the tail first and then, line by line, to the sink; where the sink
// is slower than the worker, lines are dropped and the count of them is said.
//
// The worker has the pipe open for reading, too. So even where keeper and runner are killed together, what it prints is
// no SIGPIPE and no EPIPE, which end many a worker: it finds its place in the pipe, and waits when that is full, until
// the next sidecar takes the pipe over (orphan.go).
type output struct {
	read, write int  // the ends
	own         bool // the pipe is ours alone and is closed with us
	tail        *Tail
	sink        *sink

	bytes   atomic.Int64 // read so far
	closing atomic.Bool  // ends a read that a flood keeps from ending

	mu      sync.Mutex // guards what follows; whoever holds it reads, so that bytes are taken in their order
	file    *os.File   // our duplicate of the reading end
	buf     []byte
	partial []byte            // the line that has not ended yet
	heard   func(line []byte) // is told each whole line while a life gets ready; nil: nobody asks
}

const (
	pipeSize    = 256 << 10 // of a pipe of our own: what a worker may print while we are slow
	mostPartial = 8 << 10   // a longer line goes to the sink in pieces
)

// openOutput takes the pipe at the two descriptors, or makes one if they are 0.
func openOutput(read, write int, tail *Tail, to io.Writer) (*output, error) {
	o := &output{read: read, write: write, own: write == 0, tail: tail, sink: newSink(to), buf: make([]byte, 64<<10)}
	if o.own {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("make the pipe of the worker's output: %w", err)
		}
		o.read, o.write = ends[0], ends[1]
		_, _ = unix.FcntlInt(uintptr(o.read), unix.F_SETPIPE_SZ, pipeSize) // refused to users with many pipes; then it has 64 KiB
	}
	file, err := o.reader()
	if err != nil {
		o.closeOwn()
		return nil, err
	}
	o.file = file
	go o.sink.run()
	return o, nil
}

// reader duplicates the reading end.
func (o *output) reader() (*os.File, error) {
	fd, err := unix.FcntlInt(uintptr(o.read), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor %d of the worker's output: %w", o.read, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // of the reading end only: the worker's end blocks
		unix.Close(fd)
		return nil, fmt.Errorf("read the worker's output: %w", err)
	}
	return os.NewFile(uintptr(fd), "worker output"), nil
}

func (o *output) current() *os.File {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.file
}

// forWorker opens the pipe once more, for a worker to print to and to hold on to.
func (o *output) forWorker() (*os.File, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", o.write), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the pipe of the worker's output: %w", err)
	}
	return os.NewFile(uintptr(fd), "worker output"), nil
}

// inode tells the pipe from any other on this machine; 0: it can't be told.
func (o *output) inode() uint64 {
	var stat unix.Stat_t
	if unix.Fstat(o.read, &stat) != nil {
		return 0
	}
	return stat.Ino
}

// isPipe says whether it is the pipe with that inode.
func isPipe(stat unix.Stat_t, inode uint64) bool {
	return stat.Mode&unix.S_IFMT == unix.S_IFIFO && stat.Ino == inode
}

// take goes on with another pipe, which some process has open at path, and leaves its ends where those of the old one
// lay. The reading end comes last: by it a runner that comes after us sees whether all of this was done. A worker is not
// trusted: what was opened has to be that pipe, and nothing that it put there in its place while we looked.
func (o *output) take(path string, inode uint64) error {
	for _, end := range []struct{ mode, at int }{{unix.O_WRONLY, o.write}, {unix.O_RDONLY | unix.O_NONBLOCK, o.read}} {
		fd, err := unix.Open(path, end.mode|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil || !isPipe(stat, inode) {
			unix.Close(fd)
			return fmt.Errorf("open %s: it is another file by now", path)
		}
		err = unix.Dup3(fd, end.at, unix.O_CLOEXEC)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("put %s at descriptor %d: %w", path, end.at, err)
		}
	}
	file, err := o.reader()
	if err != nil {
		return err
	}
	o.mu.Lock()
	old := o.file
	o.file = file
	o.mu.Unlock()
	return old.Close() // run goes on with the new one
}

// run reads until close.
func (o *output) run() error {
	for {
		file := o.current()
		if err := o.readAll(file); file == o.current() {
			return err
		}
	}
}

func (o *output) readAll(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var ended bool
		ended, failed = o.empty(int(fd), -1)
		return ended || failed != nil
	})
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, failed)
}

// settle takes what lies in the pipe now before it returns: the last words of a worker that is gone, also where run
// has not been woken yet. It does not go on for ever where a child of that worker prints without end.
func (o *output) settle() {
	if raw, err := o.current().SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = o.empty(int(fd), 2*pipeSize) })
	}
}

// empty reads until the pipe is empty or limit bytes were read (-1: no limit), and reports whether nobody can write
// any more. The lock is given up between reads, so that a flood keeps nobody out.
func (o *output) empty(fd, limit int) (ended bool, err error) {
	for limit != 0 && !o.closing.Load() {
		n, err := o.readOnce(fd)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false, nil
		case err != nil:
			return false, fmt.Errorf("read the worker's output: %w", err)
		case n == 0:
			return true, nil
		case limit > 0:
			limit -= min(n, limit)
		}
	}
	return false, nil
}

func (o *output) readOnce(fd int) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := unix.Read(fd, o.buf)
	if n > 0 {
		o.bytes.Add(int64(n))
		o.tail.Append(o.buf[:n])
		o.split(o.buf[:n])
	}
	return n, err
}

// split passes whole lines on. A CR ends one too, for the listener: it is how progress bars move.
func (o *output) split(p []byte) {
	if o.heard != nil {
		for line := range bytes.FieldsFuncSeq(p, func(r rune) bool { return r == '\n' || r == '\r' }) {
			o.heard(line)
		}
	}
	for len(p) > 0 {
		piece := p[:min(len(p), mostPartial-len(o.partial))]
		if i := bytes.IndexByte(piece, '\n'); i >= 0 {
			piece = piece[:i+1]
		}
		o.partial, p = append(o.partial, piece...), p[len(piece):]
		ended := o.partial[len(o.partial)-1] == '\n'
		if !ended && len(o.partial) < mostPartial {
			continue
		}
		if !ended {
			o.partial = append(o.partial, '\n')
		}
		o.sink.put(o.partial)
		o.partial = o.partial[:0]
	}
}

// listen has f told of all that is printed from now on, until the returned function is called. One listener at a time.
func (o *output) listen(f func(line []byte)) (stop func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = f
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.heard = nil
	}
}

// begin marks in the tail where the output of a life begins.
func (o *output) begin(m mark) {
	o.settle() // what was printed before is of the life before
	o.tail.Append([]byte("\n" + beginning(m) + "\n"))
}

// linesOf returns the last n lines of the life.
func (o *output) linesOf(m mark, n int) []string {
	text := o.tail.Text()
	if _, since, ok := strings.Cut(text, beginning(m)+"\n"); ok {
		text = since
	}
	return lastLines(text, n)
}

func beginning(m mark) string { return fmt.Sprintf("--- life %d begins ---", m.life) }

func (o *output) close() {
	o.closing.Store(true)
	o.current().Close()
	o.closeOwn()
	o.sink.close()
}

func (o *output) closeOwn() {
	if o.own {
		unix.Close(o.read)
		unix.Close(o.write)
	}
}
