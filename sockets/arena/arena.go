// Package arena is the memory that outlives us: one sealed memfd, mapped shared, at a descriptor that the keeper and
// every runner know. A slot in it is one client connection, from its accept to its close, with the stream that it
// carries. What a runner knows of a stream and would need after its own death lies here and nowhere else.
//
// Nothing in it is a pointer. A slot's state of affairs is its Record, which changes as a whole by one store (two
// copies and a generation); the bytes themselves lie in the slot's areas, at offsets that the Record gives; and
// beside it stand four counts that are noted after each system call and that the kernel can correct after a death.
// The order in which they are written is the heart of the promise, and it is the same everywhere:
//
//	read into an input area; note what was taken; copy what was judged into an output area, in our own framing;
//	commit the Record; only then send; note what was given.
//
// So what was sent is always a prefix of what is committed, and what was read and not committed is judged again.
//
// Each slot is owned by one loop, which alone writes it. The machine's record and the worker's output are owned by
// the supervisor's side.
package arena

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"autoglm-sidecar/sockets/keeper"
)

const (
	// Magic marks the arena for the keeper and for us, in all layouts.
	Magic = keeper.Magic
	// Layout is the version of everything behind the first page. Change it with any change of a struct here.
	Layout = 3

	// InSize is how far a slot reads ahead in one direction, and so what a head may measure.
	InSize = 64 << 10
	// OutSize is how much judged output a slot holds in one direction.
	OutSize = 62 << 10
	// NearSize is how much of the end of DownOut shares its page with the beginning of DownIn: a token that is put there
	// costs its stream one page of memory and not two.
	NearSize = OutSize % pageSize

	// MaxFronts bounds the fronts, each of which has a place in a table.
	MaxFronts = 4
	// MaxLoops bounds the loops, each of which has a block of counters.
	MaxLoops = 14
	// OutputSize is how much of the worker's last output is kept.
	OutputSize = 64 << 10
	// RecordSize bounds the machine's record.
	RecordSize = 2304
	// MemorySize bounds what is kept of the worker's GPU memory.
	MemorySize = 128 << 10

	pageSize   = 4096
	slotSize   = 1024
	wordSize   = 8
	areaStride = 256 << 10
	endSize    = 512
	upBytes    = areaStride / 2 // of the direction to the worker, in pages of its own
)

// Arena is a mapped arena. Its methods may be called by anyone; what they return belongs to the owner named there.
type Arena struct {
	mem   []byte
	heap  bool // mem is Go's
	fd    int  // -1 where no memfd is behind mem
	slots int

	blocks                            int // of copies; see blocks.go
	blockTableAt, areasFrom, blocksAt int
	hint                              atomic.Int32 // where a free block may be

	condemning sync.Mutex // held while a request is condemned

	// Crash, where it is set, is called before and after each ordered store. The crash test dies in it.
	Crash func()
}

// header lies behind the keeper's page.
type header struct {
	slots   int64
	blocks  int64
	started int64 // CLOCK_MONOTONIC ns of the first runner
	loops   [MaxLoops]Counters
	output  outputHead
	mark    Mark
	fronts  [MaxFronts]front
	ends    endsHead
	pulse   Pulse

	condemned condemned
	account   Account

	machine note[[RecordSize]byte]
	memory  note[[MemorySize]byte]
}

type front struct {
	length  int64
	address [248]byte
}

var (
	headerPages = pages(int(unsafe.Sizeof(header{}))) / pageSize
	tableAt     = pageSize * (1 + headerPages + OutputSize/pageSize)
)

// The sizes hold at compile time.
var (
	_ [slotSize - unsafe.Sizeof(Slot{})]byte
	_ [endSize - unsafe.Sizeof(End{})]byte
	_ [areaStride - (upBytes + InSize + OutSize)]byte
	_ [upBytes - (InSize + OutSize)]byte
	_ [pageSize - unsafe.Sizeof(keeper.Page{})]byte
)

// Size is what an arena has room for.
type Size struct {
	Slots  int
	Blocks int // of BlockSize bytes each, for copies of requests
}

// bytes is how long the arena is: the head, the table of slots, the ring of ends, the table of blocks, the slots' areas,
// the blocks.
func (s Size) bytes() int { return s.blocksAt() + s.Blocks*BlockSize }

func (s Size) blockTableAt() int { return endsAt(s.Slots) + pages(endsKept(s.Slots)*endSize) }

func (s Size) areasAt() int { return s.blockTableAt() + pages(s.Blocks*wordSize) }

func (s Size) blocksAt() int { return s.areasAt() + s.Slots*areaStride }

// over is an arena of this size in mem.
func (s Size) over(mem []byte) *Arena {
	return &Arena{mem: mem, fd: -1, slots: s.Slots, blocks: s.Blocks, blockTableAt: s.blockTableAt(), areasFrom: s.areasAt(), blocksAt: s.blocksAt()}
}

func endsAt(slots int) int { return tableAt + pages(slots*slotSize) }

// pages is n rounded up to whole pages.
func pages(n int) int { return (n + pageSize - 1) / pageSize * pageSize }

// Private makes an arena that dies with this process: for a runner without a keeper.
func Private(s Size) (*Arena, error) {
	mem, err := unix.Mmap(-1, 0, s.bytes(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map a private arena for %d connections: %w", s.Slots, err)
	}
	a := s.over(mem)
	a.found()
	return a, nil
}

// heapBlocks is how many blocks an arena on the heap has.
const heapBlocks = 24

// OnHeap makes an arena of Go's memory, so that the race detector sees it: for tests.
func OnHeap(slots int) *Arena {
	s := Size{Slots: slots, Blocks: heapBlocks}
	words := make([]uint64, s.bytes()/wordSize)
	a := s.over(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), s.bytes()))
	a.heap = true
	a.found()
	return a
}

// Create makes a fresh sealed arena at descriptor number at.
func Create(at int, s Size) (*Arena, error) {
	fd, err := unix.MemfdCreate("autoglm-sidecar-arena", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // kernels before 6.3 know no MFD_NOEXEC_SEAL
		fd, err = unix.MemfdCreate("autoglm-sidecar-arena", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("create the arena: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(s.bytes())); err != nil {
		return nil, fmt.Errorf("size the arena for %d connections: %w", s.Slots, err)
	}
	// A file that may shrink under a mapping is a SIGBUS in waiting.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, fmt.Errorf("seal the arena: %w", err)
	}
	if err := unix.Dup3(fd, at, unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("put the arena at descriptor %d: %w", at, err)
	}
	a, err := attach(at, s)
	if err != nil {
		return nil, err
	}
	a.found()
	return a, nil
}

// Open maps the arena that an earlier runner left at descriptor number at. found is false where there is none.
func Open(at int) (a *Arena, found bool, err error) {
	if _, err := unix.FcntlInt(uintptr(at), unix.F_GET_SEALS, 0); err != nil {
		return nil, false, nil
	}
	var file unix.Stat_t
	if err := unix.Fstat(at, &file); err != nil {
		return nil, true, fmt.Errorf("look at the arena: %w", err)
	}
	if file.Size < 2*pageSize {
		return nil, true, fmt.Errorf("descriptor %d holds no arena (%d bytes)", at, file.Size)
	}
	head, err := unix.Mmap(at, 0, 2*pageSize, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, true, fmt.Errorf("map the arena's head: %w", err)
	}
	page := (*keeper.Page)(unsafe.Pointer(&head[0]))
	magic, layout := page.Magic, page.Layout
	h := (*header)(unsafe.Pointer(&head[pageSize]))
	slots, blocks := h.slots, h.blocks
	unix.Munmap(head)
	switch {
	case magic == 0: // its maker died before it had filled it in: nothing was ever served
		return nil, false, nil
	case magic != Magic:
		return nil, true, fmt.Errorf("descriptor %d holds no arena (magic %#x)", at, magic)
	case layout != Layout:
		return nil, true, fmt.Errorf("the arena has layout %d, this program knows %d", layout, Layout)
	}
	s := Size{Slots: int(slots), Blocks: int(blocks)}
	if slots < 0 || blocks < 0 || slots > file.Size || blocks > file.Size || int64(s.bytes()) != file.Size { // touching what isn't there is a SIGBUS
		return nil, true, fmt.Errorf("the arena has %d bytes, which isn't what %d slots and %d blocks need", file.Size, slots, blocks)
	}
	a, err = attach(at, s)
	return a, true, err
}

func attach(fd int, s Size) (*Arena, error) {
	mem, err := unix.Mmap(fd, 0, s.bytes(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the arena: %w", err)
	}
	// Prompts and answers have no place in a core file.
	if err := unix.Madvise(mem, unix.MADV_DONTDUMP); err != nil {
		return nil, fmt.Errorf("keep the arena out of core files: %w", err)
	}
	a := s.over(mem)
	a.fd = fd
	return a, nil
}

// found writes the head of a fresh arena, the magic last: without it there is no arena.
func (a *Arena) found() {
	a.header().slots, a.header().blocks = int64(a.slots), int64(a.blocks)
	a.header().started = now()
	p := a.Page()
	p.Layout = Layout
	atomic.StoreUint64(&p.Magic, Magic)
}

// Page is the first page, which the keeper knows too.
func (a *Arena) Page() *keeper.Page { return (*keeper.Page)(unsafe.Pointer(&a.mem[0])) }

func (a *Arena) header() *header { return (*header)(unsafe.Pointer(&a.mem[pageSize])) }

// Slots is how many there are.
func (a *Arena) Slots() int { return a.slots }

// Slot returns slot i, which belongs to the loop that i falls to.
func (a *Arena) Slot(i int) *Slot { return (*Slot)(unsafe.Pointer(&a.mem[tableAt+i*slotSize])) }

// Counters returns loop i's block.
func (a *Arena) Counters(i int) *Counters { return &a.header().loops[i] }

// Areas are where a slot's bytes lie, for each direction what was read and what is to be sent.
type Areas struct{ UpIn, UpOut, DownIn, DownOut []byte }

// Areas returns slot i's.
func (a *Arena) Areas(i int) Areas {
	b := a.mem[a.areasAt(i):][:areaStride:areaStride]
	cut := func(n int) []byte {
		s := b[:n:n]
		b = b[n:]
		return s
	}
	up := Areas{UpIn: cut(InSize), UpOut: cut(OutSize)}
	cut(upBytes - InSize - OutSize)
	return Areas{UpIn: up.UpIn, UpOut: up.UpOut, DownOut: cut(OutSize), DownIn: cut(InSize)}
}

func (a *Arena) areasAt(i int) int { return a.areasFrom + i*areaStride }

func (a *Arena) word(at int) *uint64 { return (*uint64)(unsafe.Pointer(&a.mem[at])) }

// Wipe gives the memory of slot i's areas back: nobody's prompt stays behind, and an idle connection costs nothing.
func (a *Arena) Wipe(i int) { a.wipe(a.areasAt(i), areaStride) }

// WipeRequest does so for the areas of the direction from the client to the worker.
func (a *Arena) WipeRequest(i int) { a.wipe(a.areasAt(i), upBytes) }

func (a *Arena) wipe(at, n int) {
	switch {
	case a.heap:
		clear(a.mem[at : at+n])
	case a.fd < 0:
		// It can't fail for memory of our own.
		_ = unix.Madvise(a.mem[at:at+n], unix.MADV_DONTNEED)
	default:
		// It can fail only for want of memory to note the hole; then the pages go with the next wipe.
		_ = unix.Fallocate(a.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(at), int64(n))
	}
}

// Front is the address that front i was opened for, "" where it wasn't.
func (a *Arena) Front(i int) string {
	f := &a.header().fronts[i]
	return string(f.address[:f.length])
}

// SetFront notes the address of front i, before its first accept. A death in the middle leaves "".
func (a *Arena) SetFront(i int, address string) error {
	f := &a.header().fronts[i]
	if len(address) > len(f.address) {
		return fmt.Errorf("front address of %d bytes: at most %d", len(address), len(f.address))
	}
	atomic.StoreInt64(&f.length, 0)
	n := copy(f.address[:], address)
	atomic.StoreInt64(&f.length, int64(n))
	return nil
}

// Founded is when the arena was made, by CLOCK_MONOTONIC in nanoseconds.
func (a *Arena) Founded() int64 { return a.header().started }

func now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it can't fail for this clock
	return t.Nano()
}

func (a *Arena) crash() {
	if a.Crash != nil {
		a.Crash()
	}
}
