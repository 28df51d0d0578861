package arena

import "unsafe"

type outputHead struct{ end int64 }

// Output returns the ring that holds the worker's last output and the count of all bytes that ever went into it,
// which is owned by whoever reads that output.
func (a *Arena) Output() (ring []byte, end *int64) {
	at := pageSize * (1 + headerPages)
	return a.mem[at : at+OutputSize : at+OutputSize], (*int64)(unsafe.Pointer(&a.header().output.end))
}
