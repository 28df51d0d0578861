package supervisor

import "sync"

// mailbox is a queue whose senders never wait: the gate calls Drained with its mutex held, and a loop that moves bytes can't stand
// still for us. What is in it is little, because everybody who sends was asked something first.
type mailbox[T any] struct {
	ready chan struct{} // holds a token while there is something to take

	mu    sync.Mutex // guards items
	items []T
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{ready: make(chan struct{}, 1)} }

func (b *mailbox[T]) put(item T) {
	b.mu.Lock()
	b.items = append(b.items, item)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns everything in it, oldest first.
func (b *mailbox[T]) take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = nil
	return items
}
