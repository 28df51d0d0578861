package reader

import (
	"slices"
	"time"

	"autoglm-sidecar/gpu"
)

// orders are what the program has still to be told. The latest wins, so they are bounded, and a program that doesn't read them blocks
// nobody but the goroutine that writes. Guarded by program.mu.
type orders struct {
	standing *gpu.Order // nil: nothing new
	now      int64      // 0: none. It answers for all smaller ones that wait with it: the look is later than all of them
	sent     int64
	waiting  []question
	wake     chan struct{} // of one place: there is something
}

// question is a Now that waits.
type question struct {
	number int64
	answer chan struct{}
}

// tell has the program told a standing order.
func (p *program) tell(standing gpu.Order) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.standing = &standing
	p.nudge()
}

// ask returns what is closed when the question with that number is answered.
func (p *program) ask(number int64) chan struct{} {
	answer := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, question{number, answer})
	p.now = number
	p.nudge()
	return answer
}

func (p *program) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// forget is for a question that nobody waits for any more.
func (p *program) forget(answer chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(q question) bool { return q.answer == answer })
}

// answered: all that was asked up to that number has been answered. A number that the program was not asked says nothing.
func (p *program) answered(number int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number > p.sent {
		return
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(q question) bool {
		if q.number > number {
			return false
		}
		close(q.answer)
		return true
	})
}

// write tells the program what there is, until its input is closed or it has ended.
func (p *program) write() {
	for {
		select {
		case <-p.wake:
		case <-p.exited:
			return
		}
		order, any := p.next()
		if any && gpu.WriteLine(p.in, order) != nil {
			return // it has ended, or shall
		}
	}
}

// next takes what there is.
func (p *program) next() (order gpu.Order, any bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.standing != nil {
		order = *p.standing
	}
	order.Now = p.now
	if p.now != 0 {
		p.sent = p.now
	}
	p.standing, p.now = nil, 0
	return order, len(order.Watch) > 0 || order.Now != 0 ||
		order.MemoryEvery+order.ProcessesEvery+order.ConditionEvery > time.Duration(0)
}
