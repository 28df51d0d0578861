package arena

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Note is where somebody keeps bytes for the next runner, whose meaning nobody here knows: two copies and a generation, so
// that they are replaced as a whole or not at all. Each note has one owner.
type Note struct {
	what   string
	gen    *atomic.Uint64
	length *[2]int64
	copies [2][]byte
}

// note is a Note as it lies in the arena; B is an array of bytes.
type note[B any] struct {
	gen    atomic.Uint64
	length [2]int64
	copies [2]B
}

func noteOf[B any](what string, n *note[B]) Note {
	size := int(unsafe.Sizeof(n.copies[0]))
	bytes := func(b *B) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(b)), size) }
	return Note{what, &n.gen, &n.length, [2][]byte{bytes(&n.copies[0]), bytes(&n.copies[1])}}
}

// Machine is where the restart machine keeps its record, at most RecordSize bytes. Owned by the supervisor's loop.
func (a *Arena) Machine() Note { return noteOf("the machine's record", &a.header().machine) }

// Memory is where what was seen of the worker's GPU memory is kept, at most MemorySize bytes. Owned by the daemon's watch of it.
func (a *Arena) Memory() Note { return noteOf("what is kept of GPU memory", &a.header().memory) }

// Load returns what was last stored; empty where nothing ever was.
func (n Note) Load() ([]byte, error) {
	i := n.gen.Load() & 1
	length := n.length[i]
	if length < 0 || length > int64(len(n.copies[i])) {
		return nil, fmt.Errorf("%s claims %d bytes: at most %d", n.what, length, len(n.copies[i]))
	}
	return append([]byte(nil), n.copies[i][:length]...), nil
}

// Store replaces it by one store.
func (n Note) Store(b []byte) error {
	next := n.gen.Load() + 1
	if most := len(n.copies[next&1]); len(b) > most {
		return fmt.Errorf("%s has %d bytes: at most %d", n.what, len(b), most)
	}
	n.length[next&1] = int64(copy(n.copies[next&1], b))
	n.gen.Store(next)
	return nil
}
