//go:build cgo && linux

package main

import (
	"sync"

	"autoglm-sidecar/gpu"
)

// inbox holds orders until the reader takes them. It is never full: whoever reads our input must go on, so that he sees its end
// even while the reader hangs in NVML.
type inbox struct {
	bell chan struct{} // there is something

	mu     sync.Mutex
	orders []gpu.Order // guarded by mu
}

func newInbox() *inbox { return &inbox{bell: make(chan struct{}, 1)} }

func (b *inbox) put(o gpu.Order) {
	b.mu.Lock()
	b.orders = append(b.orders, o)
	b.mu.Unlock()
	select {
	case b.bell <- struct{}{}:
	default: // it rings already
	}
}

func (b *inbox) take() []gpu.Order {
	b.mu.Lock()
	defer b.mu.Unlock()
	orders := b.orders
	b.orders = nil
	return orders
}
