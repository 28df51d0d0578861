package arena

import (
	"fmt"
	"unsafe"
)

// Machine is where the restart machine keeps its record: two copies and a generation, at most RecordSize bytes whose
// meaning nobody here knows. Owned by the supervisor's loop.
type Machine struct{ a *Arena }

// Machine returns the record's keeper.
func (a *Arena) Machine() Machine { return Machine{a} }

// Load returns the record as it was last stored; empty where it never was.
func (m Machine) Load() ([]byte, error) {
	h := &m.a.header().machine
	i := h.gen.Load() & 1
	n := h.length[i]
	if n < 0 || n > RecordSize {
		return nil, fmt.Errorf("the machine's record claims %d bytes: at most %d", n, RecordSize)
	}
	return append([]byte(nil), h.copies[i][:n]...), nil
}

// Store replaces the record by one store.
func (m Machine) Store(b []byte) error {
	if len(b) > RecordSize {
		return fmt.Errorf("the machine's record has %d bytes: at most %d", len(b), RecordSize)
	}
	h := &m.a.header().machine
	next := h.gen.Load() + 1
	h.length[next&1] = int64(copy(h.copies[next&1][:], b))
	h.gen.Store(next)
	return nil
}

type outputHead struct{ end int64 }

// Output returns the ring that holds the worker's last output and the count of all bytes that ever went into it,
// which is owned by whoever reads that output.
func (a *Arena) Output() (ring []byte, end *int64) {
	at := pageSize * (1 + headerPages)
	return a.mem[at : at+OutputSize : at+OutputSize], (*int64)(unsafe.Pointer(&a.header().output.end))
}
