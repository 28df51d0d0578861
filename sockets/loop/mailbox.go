package loop

import "sync"

// Mailbox is how others speak to a loop: Post from anywhere, Take on the loop. It has no bound, since who posts must
// not wait; what is posted is bounded by what there is to say (a grant a stream, a question a command).
type Mailbox[T any] struct {
	wake func() // after the first letter of a batch

	mu      sync.Mutex // guards letters
	letters []T
}

// NewMailbox returns an empty mailbox; wake tells the loop that there is something in it.
func NewMailbox[T any](wake func()) *Mailbox[T] { return &Mailbox[T]{wake: wake} }

// Post puts a letter into the box.
func (m *Mailbox[T]) Post(letter T) {
	m.mu.Lock()
	first := len(m.letters) == 0
	m.letters = append(m.letters, letter)
	m.mu.Unlock()
	if first {
		m.wake()
	}
}

// Take empties the box.
func (m *Mailbox[T]) Take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters := m.letters
	m.letters = nil
	return letters
}
